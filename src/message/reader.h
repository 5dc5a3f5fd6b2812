/* Reads the declared fields of a stream out of the JSON text of a message (design: `fields` and
 * `shapes` of a stream file).
 *
 * The text is checked whole, by RFC 8259: UTF-8, depth (64), no NaN, Infinity or hex, nothing after
 * the value; of duplicate keys the last counts. A message fits the first shape whose required
 * fields are all there; JSON null counts as not there. The parser underneath is simdjson (adapter:
 * message/json.h, the only C++ in the tree). */
#ifndef MESSAGE_READER_H
#define MESSAGE_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/error.h"
#include "model/value.h"

struct field_def {
    const char *name;
    enum value_type type;
    bool optional; /* declared with `?` */
};

/* Where a shape finds one field: alternatives, the first that is there counts. */
struct field_paths {
    const char **paths; /* "data.k.s": object keys joined by dots */
    size_t n_paths;     /* 0: this shape does not have the field (only optional fields) */
};

struct shape_def {
    struct field_paths *fields; /* one for each field_def, in their order */
};

struct reader_def {
    const struct field_def *fields;
    size_t n_fields;
    const struct shape_def *shapes;
    size_t n_shapes;
};

struct reader_plan; /* all paths of all shapes as one structure; immutable, any number of threads;
                       holds copies of names and paths */
struct reader;      /* a parser and its scratch memory; one thread */

/* NULL with `err` when a path is malformed or a shape lacks a required field; the text names the
 * field. */
struct reader_plan *reader_plan_new(const struct reader_def *def, struct error *err)
    __attribute__((warn_unused_result));
void reader_plan_free(struct reader_plan *plan);

struct reader *reader_new(void);
void reader_free(struct reader *reader);

enum read_result {
    READ_OK,
    READ_NOT_JSON,   /* the text is no JSON */
    READ_NO_SHAPE,   /* JSON, but no shape's required fields are all there */
    READ_WRONG_TYPE, /* a shape fits, but a field's value is not of its type */
};

/* What was read. `values` has one value for each field, absent ones `is_null`; texts point into the
 * reader's scratch memory or into `text` itself and are valid until the next reader_read() and as
 * long as `text` is. Conversions: text from a string without U+0000; int8 and ms from a whole JSON
 * number (1e3 and 5.0 are refused) or a string that is one; float8 and numeric from a JSON number
 * or a string that is one by JSON's grammar (their decimal text is kept in .source or .text); bool
 * from true and false; json from any value, as its text in the message. */
struct record {
    struct value *values;
    size_t n_values;
    size_t shape; /* index of the shape that fitted */
    /* One for each field: it is there, but not of its type. NULL unless READ_WRONG_TYPE. */
    const bool *unread;
};

/* One pass over the text, no allocation once warm. READ_OK fills `*record` (memory of the reader);
 * otherwise `err` says why, with path and byte, counted from 0: "kline.open: expected float8, found
 * \"abc\" (byte 120)". With READ_WRONG_TYPE, fields that were read well are in `*record`, the
 * others is_null, so that a rejected message can still be named. */
enum read_result reader_read(struct reader *reader, const struct reader_plan *plan,
                             struct bytes text, struct record *record, struct error *err)
    __attribute__((warn_unused_result));

#endif
