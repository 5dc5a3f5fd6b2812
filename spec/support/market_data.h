/* The fields and shapes of spec/fixtures/market_data.jsonl, for the reader's spec, bench and fuzz
 * target. */
#ifndef SUPPORT_MARKET_DATA_H
#define SUPPORT_MARKET_DATA_H

#include "message/reader.h"

enum market_field {
    FIELD_SYMBOL,
    FIELD_INTERVAL,
    FIELD_TIME,
    FIELD_OPEN,
    FIELD_HIGH,
    FIELD_LOW,
    FIELD_CLOSE,
    FIELD_VOLUME,
    FIELD_FINAL,
    FIELD_SEQ,
    N_MARKET_FIELDS,
};

enum market_shape { SHAPE_INGESTER, SHAPE_COMBINED, SHAPE_RAW, SHAPE_FLAT, N_MARKET_SHAPES };

/* clang-format off */
static const struct field_def market_fields[N_MARKET_FIELDS] = {
    [FIELD_SYMBOL] = {"symbol", VALUE_TEXT, false},
    [FIELD_INTERVAL] = {"interval", VALUE_TEXT, true},
    [FIELD_TIME] = {"time", VALUE_TIME, false},
    [FIELD_OPEN] = {"open", VALUE_FLOAT8, false},
    [FIELD_HIGH] = {"high", VALUE_FLOAT8, false},
    [FIELD_LOW] = {"low", VALUE_FLOAT8, false},
    [FIELD_CLOSE] = {"close", VALUE_FLOAT8, false},
    [FIELD_VOLUME] = {"volume", VALUE_FLOAT8, false},
    [FIELD_FINAL] = {"final", VALUE_BOOL, true},
    [FIELD_SEQ] = {"seq", VALUE_INT8, true},
};

#define AT(path)         {(const char *[]){path}, 1}
#define EITHER(path, or) {(const char *[]){path, or}, 2}
#define NOT_THERE        {NULL, 0}

static const struct shape_def market_shapes[N_MARKET_SHAPES] = {
    [SHAPE_INGESTER] = {(struct field_paths[]){
        AT("symbol"), AT("interval"), AT("kline.openTime"), AT("kline.open"), AT("kline.high"),
        AT("kline.low"), AT("kline.close"), AT("kline.volume"), AT("kline.isFinal"),
        EITHER("seq", "kline.seq")}},
    [SHAPE_COMBINED] = {(struct field_paths[]){
        AT("data.k.s"), AT("data.k.i"), AT("data.k.t"), AT("data.k.o"), AT("data.k.h"),
        AT("data.k.l"), AT("data.k.c"), AT("data.k.v"), AT("data.k.x"),
        EITHER("seq", "data.seq")}},
    [SHAPE_RAW] = {(struct field_paths[]){
        AT("k.s"), AT("k.i"), AT("k.t"), AT("k.o"), AT("k.h"),
        AT("k.l"), AT("k.c"), AT("k.v"), AT("k.x"),
        EITHER("seq", "k.seq")}},
    [SHAPE_FLAT] = {(struct field_paths[]){
        AT("s"), NOT_THERE, AT("t"), AT("o"), AT("h"),
        AT("l"), AT("c"), AT("v"), NOT_THERE,
        AT("seq")}},
};
/* clang-format on */

#undef AT
#undef EITHER
#undef NOT_THERE

static inline struct reader_def market_data_def(void)
{
    return (struct reader_def){market_fields, N_MARKET_FIELDS, market_shapes, N_MARKET_SHAPES};
}

#endif
