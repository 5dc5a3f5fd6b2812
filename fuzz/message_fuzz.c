/* Any bytes at all as a message, through reader, rules and the arrays that PostgreSQL is sent: each
 * ends as rows, a skip or a rejection, whole and of bounded size, and nothing of it stays behind.
 *
 * The first byte of the input chooses the stream: the shipped ones, or one of our own that decodes
 * the whole message. What follows is the key up to the first line feed, the payload behind it;
 * without a line feed there is no payload. */
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "message/json.h"
#include "rules/internal.h"
#include "rules/snapshot.h"
#include "store/arrays.h"

/* What one message may leave behind in a Lua state until its collector comes by, and what its rows
 * may take: far more than they do, far less than a leak makes of a million messages. */
#define STATE_SLACK_BYTES ((size_t)4 << 20)
#define ARENA_SLACK_BYTES ((size_t)256 << 10)
#define ARENA_FACTOR      64

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            die("not so: %s", #condition);                                                         \
    } while (0)

/* Columns of every type, filled with whatever the message has; patterns out of the message. */
static char whole_init[] = "return { streams = { require 'streams.whole' } }";
static char whole_stream[] =
    "local function try(what, ...)\n"
    "  local fine, a, b = pcall(what, ...)\n"
    "  return fine and (a or b) or nil\n"
    "end\n"
    "return {\n"
    "  name = 'Whole', topic = 'whole',\n"
    "  tables = { whole = { columns = { id = 'text', b = 'bool?', f = 'float8?', i = 'int8?',\n"
    "    j = 'json?', m = 'timestamptz?', n = 'numeric?', t = 'text?' }, key = { 'id' } } },\n"
    "  map = function(m, meta)\n"
    "    if type(m) ~= 'table' then return nil, 'skip', tostring(m) end\n"
    "    if m.r then return nil, 'reject', m.r end\n"
    "    if type(m.t) == 'string' and type(m.p) == 'string' and #m.t + #m.p < 100 then\n"
    "      try(string.find, m.t, m.p)\n"
    "      try(string.gsub, m.t, m.p, m.g)\n"
    "      try(string.format, m.p, m.t, m.i, m.f)\n"
    "    end\n"
    "    local j = m.j and try(cs.json.decode, m.j) or m\n"
    "    return { whole = { id = meta.key or '', b = m.b, f = m.f, i = m.i, j = j,\n"
    "      m = type(m.m) == 'string' and try(cs.time.parse, m.m) or m.m, n = m.n, t = m.t } }\n"
    "  end,\n"
    "}\n";

struct subject {
    struct rules_state *state;
    size_t stream;
};

static struct subject subjects[4];
static size_t n_subjects;
static size_t quiet_bytes; /* of all states, before the first message */
static struct json_parser *parser;
static struct arena arena;

/* ---- what a message may become ---- */

static void expect_text(struct bytes text)
{
    REQUIRE(text.data && utf8_is_valid(text) && !memchr(text.data, '\0', text.size));
}

static void expect_json(struct bytes text)
{
    static const struct json_place all = {.end = 1};
    struct json_found found;
    struct json_fault fault;
    char *copy = memory_alloc(text.size + JSON_PADDING);
    memcpy(copy, text.data, text.size);
    REQUIRE(json_parser_reserve(parser, text.size));
    REQUIRE(json_walk(parser, copy, text.size, &all, &found, &fault));
    free(copy);
}

static void expect_float8(const struct value *value)
{
    double number = 0;
    REQUIRE(isfinite(value->float8));
    if (value->source.data)
        REQUIRE(value_parse_float8(value->source, &number) && number == value->float8);
}

static void expect_value(const struct value *value, const struct column_def *column)
{
    REQUIRE(value->type == column->type);
    REQUIRE(!value->is_null || column->optional);
    if (value->is_null)
        return;
    switch (value->type) {
    case VALUE_TEXT:
        expect_text(value->text);
        return;
    case VALUE_NUMERIC:
        REQUIRE(value_is_numeric(value->text));
        return;
    case VALUE_JSON:
        expect_json(value->text);
        return;
    case VALUE_FLOAT8:
        expect_float8(value);
        return;
    case VALUE_INT8:
    case VALUE_TIME:
    case VALUE_BOOL:
        return;
    }
    die("value type %d", (int)value->type);
}

/* As array_recv reads it: its header, then each element with its length. */
static void expect_array(struct bytes array, size_t n)
{
    size_t at = 5 * 4;
    for (size_t i = 0; i < n; i++) {
        REQUIRE(at + 4 <= array.size);
        const unsigned char *size = (const unsigned char *)array.data + at;
        uint32_t length = (uint32_t)size[0] << 24 | (uint32_t)size[1] << 16 |
                          (uint32_t)size[2] << 8 | (uint32_t)size[3];
        at += 4 + (length == UINT32_MAX ? 0 : length);
    }
    REQUIRE(at == array.size);
}

/* A column of all rows of one table, also as the type that a numeric column has it sent as. */
static void encode_column(const struct row *rows, size_t n_rows, size_t column)
{
    enum value_type type = rows->table->columns[column].type;
    enum value_type wires[] = {type, type == VALUE_FLOAT8 ? VALUE_NUMERIC : type};
    for (size_t w = 0; w < 2; w++) {
        struct buffer array = {0};
        array_begin(&array, array_element(wires[w]), n_rows);
        for (size_t i = 0; i < n_rows; i++)
            array_add_value(&array, wires[w], &rows[i].values[column]);
        expect_array(buffer_bytes(&array), n_rows);
        buffer_free(&array);
    }
}

static void expect_rows(const struct row *rows, size_t n_rows, const struct stream_def *stream)
{
    REQUIRE(n_rows > 0);
    for (size_t from = 0, to; from < n_rows; from = to) {
        const struct table_def *table = rows[from].table;
        REQUIRE(table >= stream->tables && table < stream->tables + stream->n_tables);
        REQUIRE(from == 0 || rows[from - 1].table < table);
        for (to = from; to < n_rows && rows[to].table == table; to++)
            for (size_t c = 0; c < table->n_columns; c++)
                expect_value(&rows[to].values[c], &table->columns[c]);
        for (size_t c = 0; c < table->n_columns; c++)
            encode_column(rows + from, to - from, c);
    }
}

static void expect_refusal(const struct map_result *result)
{
    expect_text(result->reason);
    REQUIRE(result->reason.size > 0);
    REQUIRE(result->stage != STAGE_DATABASE);
    REQUIRE(!result->series.data == !result->series_table.data);
}

static void expect_result(const struct map_result *result, const struct stream_def *stream)
{
    switch (result->verdict) {
    case MAP_ROWS:
        expect_rows(result->rows, result->n_rows, stream);
        return;
    case MAP_SKIP:
        expect_text(result->reason);
        REQUIRE(result->reason.size > 0);
        return;
    case MAP_REJECT:
        expect_refusal(result);
        return;
    }
    die("verdict %d", (int)result->verdict);
}

static size_t used_bytes(void)
{
    size_t sum = 0;
    for (size_t i = 0; i < n_subjects; i++)
        sum += subjects[i].stream == 0 ? subjects[i].state->limits.memory_used : 0;
    return sum;
}

/* ---- the rules ---- */

static void add_subjects(struct rules_snapshot *snapshot, struct error *err)
{
    static const struct rules_options options = {
        .load_ms = 60000,
        .map_ms = 10, /* of patterns that never end */
        .memory_bytes = (size_t)64 << 20,
        .message_max_bytes = (size_t)1 << 20,
    };
    struct rules_state *state = snapshot ? rules_state_new(snapshot, &options, err) : NULL;
    if (!state)
        die("%s", err->text);
    for (size_t i = 0; i < rules_state_def(state)->n_streams; i++) {
        REQUIRE(n_subjects < sizeof(subjects) / sizeof(*subjects));
        subjects[n_subjects++] = (struct subject){state, i};
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    static char init_path[] = "init.lua", stream_path[] = "streams/whole.lua";
    struct rules_file files[] = {{init_path, whole_init, sizeof(whole_init) - 1},
                                 {stream_path, whole_stream, sizeof(whole_stream) - 1}};
    struct rules_snapshot whole = {.files = files, .n_files = 2};
    struct error err = {.text = ""};
    log_setup(LOG_ERROR, false);
    struct rules_snapshot *shipped = rules_snapshot_read(CS_SOURCE_DIR "/lua", &err);
    add_subjects(shipped, &err);
    rules_snapshot_free(shipped);
    add_subjects(&whole, &err);
    parser = json_parser_new();
    quiet_bytes = used_bytes();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct subject *subject = &subjects[data[0] % n_subjects];
    const struct stream_def *stream = &rules_state_def(subject->state)->streams[subject->stream];
    const char *key = (const char *)data + 1, *end = (const char *)data + size;
    const char *feed = memchr(key, '\n', (size_t)(end - key));
    struct message message = {.topic = stream->topic, .offset = 42, .timestamp_ms = 1704067200000};
    message.key = bytes_of(key, (size_t)((feed ? feed : end) - key));
    if (feed)
        message.payload = bytes_of(feed + 1, (size_t)(end - feed - 1));

    struct map_result result;
    rules_map(subject->state, subject->stream, &message, &arena, &result);
    expect_result(&result, stream);
    REQUIRE(feed || result.verdict == MAP_SKIP);
    REQUIRE(arena.size_bytes < ARENA_SLACK_BYTES + ARENA_FACTOR * size);
    REQUIRE(used_bytes() < quiet_bytes + STATE_SLACK_BYTES);
    arena_reset(&arena);
    return 0;
}
