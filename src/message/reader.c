#include "message/reader.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "message/json.h"
#include "message/plan.h"

#define SHOWN_BYTES 40 /* of a value that is quoted in a reason */

struct reader {
    struct json_parser *parser;
    struct buffer scratch; /* the text with padding behind it, its strings decoded */
    struct json_found *found;
    size_t found_capacity;
    struct value *values;
    bool *unread;
    size_t values_capacity; /* of both */
    struct buffer reason;   /* what is said about a message that no shape fits */
};

/* One message being read. */
struct reading {
    const struct reader_plan *plan;
    struct bytes text;  /* as it came */
    const char *walked; /* the copy in which strings are decoded */
    const struct json_found *found;
};

struct reader *reader_new(void)
{
    struct reader *reader = memory_zero(1, sizeof *reader);
    reader->parser = json_parser_new();
    if (!reader->parser)
        die("no memory for a JSON parser");
    return reader;
}

void reader_free(struct reader *reader)
{
    if (!reader)
        return;
    json_parser_free(reader->parser);
    buffer_free(&reader->scratch);
    buffer_free(&reader->reason);
    free(reader->found);
    free(reader->values);
    free(reader->unread);
    free(reader);
}

static void make_room(struct reader *reader, const struct reader_plan *plan, size_t size_bytes)
{
    buffer_clear(&reader->scratch);
    buffer_reserve(&reader->scratch, size_bytes + JSON_PADDING);
    /* As much as the buffer has room for, so that both grow in the same few steps. */
    if (!json_parser_reserve(reader->parser, reader->scratch.capacity))
        die("no memory for a JSON text of %zu bytes", size_bytes);
    if (reader->found_capacity < plan->n_places) {
        reader->found_capacity = plan->n_places;
        reader->found = memory_resize(reader->found, plan->n_places * sizeof *reader->found);
    }
    if (reader->values_capacity < plan->n_fields) {
        reader->values_capacity = plan->n_fields;
        reader->values = memory_resize(reader->values, plan->n_fields * sizeof *reader->values);
        reader->unread = memory_resize(reader->unread, plan->n_fields * sizeof *reader->unread);
    }
}

static bool is_there(const struct json_found *found)
{
    return found->kind != FOUND_NOTHING && found->kind != FOUND_NULL;
}

/* The first path of the source that is there, or NULL. */
static const struct plan_path *find_path(const struct reading *reading,
                                         const struct plan_source *source)
{
    for (size_t i = 0; i < source->n_paths; i++)
        if (is_there(&reading->found[source->paths[i].place]))
            return &source->paths[i];
    return NULL;
}

/* The first required field that the shape does not find, or n_fields when it fits. */
static size_t find_missing(const struct reading *reading, size_t shape)
{
    const struct reader_plan *plan = reading->plan;
    for (size_t i = 0; i < plan->n_fields; i++)
        if (!plan->fields[i].optional && !find_path(reading, plan_source_of(plan, shape, i)))
            return i;
    return plan->n_fields;
}

static size_t choose_shape(const struct reading *reading)
{
    size_t shape = 0;
    while (shape < reading->plan->n_shapes &&
           find_missing(reading, shape) != reading->plan->n_fields)
        shape++;
    return shape;
}

/* "no shape fits: 1 lacks kline.openTime, 2 lacks data.k.s". */
static void explain_no_shape(const struct reading *reading, struct buffer *text, struct error *err)
{
    buffer_clear(text);
    for (size_t shape = 0; shape < reading->plan->n_shapes; shape++) {
        size_t field = find_missing(reading, shape);
        buffer_printf(text, "%s%zu lacks %s", shape > 0 ? ", " : "", shape + 1,
                      plan_source_of(reading->plan, shape, field)->paths[0].text);
    }
    error_set(err, "no shape fits: %s", text->data);
}

static struct bytes raw_text(const struct reading *reading, const struct json_found *found)
{
    return bytes_of(reading->text.data + found->at, found->size);
}

/* What a string says, or what a number looks like: both may stand for a number. */
static struct bytes scalar_text(const struct reading *reading, const struct json_found *found)
{
    if (found->kind == FOUND_STRING)
        return bytes_of(reading->walked + found->at + 1, found->content_size);
    return raw_text(reading, found);
}

/* What it says has still to be read as one. */
static bool may_be_number(const struct json_found *found)
{
    return found->kind == FOUND_NUMBER || found->kind == FOUND_STRING;
}

static bool read_text(const struct json_found *found, struct bytes text, struct value *value)
{
    value->text = text;
    return found->kind == FOUND_STRING && !memchr(text.data, '\0', text.size);
}

static bool read_whole(const struct json_found *found, struct bytes text, struct value *value)
{
    return may_be_number(found) && value_parse_int8(text, &value->int8);
}

static bool read_float8(const struct json_found *found, struct bytes text, struct value *value)
{
    value->source = text;
    return may_be_number(found) && value_parse_float8(text, &value->float8);
}

static bool read_numeric(const struct json_found *found, struct bytes text, struct value *value)
{
    value->text = text;
    return found->kind == FOUND_NUMBER || (found->kind == FOUND_STRING && value_is_numeric(text));
}

static bool read_bool(const struct json_found *found, struct value *value)
{
    value->boolean = found->kind == FOUND_TRUE;
    return found->kind == FOUND_TRUE || found->kind == FOUND_FALSE;
}

static bool read_value(const struct reading *reading, const struct json_found *found,
                       struct value *value)
{
    struct bytes text = scalar_text(reading, found);
    switch (value->type) {
    case VALUE_TEXT:
        return read_text(found, text, value);
    case VALUE_INT8:
    case VALUE_TIME:
        return read_whole(found, text, value);
    case VALUE_FLOAT8:
        return read_float8(found, text, value);
    case VALUE_NUMERIC:
        return read_numeric(found, text, value);
    case VALUE_BOOL:
        return read_bool(found, value);
    case VALUE_JSON:
        value->text = raw_text(reading, found);
        return true;
    }
    die("field of type %d", (int)value->type);
}

/* How much of a value a reason shows: whole characters. */
static int shown_size(struct bytes raw)
{
    if (raw.size <= SHOWN_BYTES)
        return (int)raw.size;
    size_t size = SHOWN_BYTES;
    while (size > 0 && ((unsigned char)raw.data[size] & 0xc0) == 0x80)
        size--;
    return (int)size;
}

/* "kline.open: expected float8, found "abc" (byte 120)". */
static void explain_wrong_type(const struct reading *reading, const struct plan_path *path,
                               enum value_type type, struct error *err)
{
    const struct json_found *found = &reading->found[path->place];
    const char *expected = value_type_field_name(type);
    if (type == VALUE_TEXT && found->kind == FOUND_STRING) {
        error_set(err, "%s: expected text, found a string with \\u0000 (byte %u)", path->text,
                  found->at);
        return;
    }
    if (found->kind == FOUND_OBJECT || found->kind == FOUND_ARRAY) {
        error_set(err, "%s: expected %s, found an %s (byte %u)", path->text, expected,
                  found->kind == FOUND_OBJECT ? "object" : "array", found->at);
        return;
    }
    struct bytes raw = raw_text(reading, found);
    int size = shown_size(raw);
    error_set(err, "%s: expected %s, found %.*s%s (byte %u)", path->text, expected, size, raw.data,
              (size_t)size < raw.size ? "..." : "", found->at);
}

/* All fields by one shape; the first wrong one is told, the others are read all the same. */
static enum read_result read_fields(const struct reading *reading, struct record *record,
                                    bool *unread, struct error *err)
{
    enum read_result result = READ_OK;
    for (size_t i = 0; i < record->n_values; i++) {
        struct value *value = &record->values[i];
        *value = (struct value){.type = reading->plan->fields[i].type};
        const struct plan_path *path =
            find_path(reading, plan_source_of(reading->plan, record->shape, i));
        if (path && read_value(reading, &reading->found[path->place], value))
            continue;
        *value = (struct value){.type = value->type, .is_null = true};
        if (path && result == READ_OK) {
            explain_wrong_type(reading, path, value->type, err);
            result = READ_WRONG_TYPE;
            memset(unread, 0, record->n_values * sizeof *unread);
            record->unread = unread;
        }
        if (path)
            unread[i] = true;
    }
    return result;
}

static enum read_result walk_text(struct reader *reader, const struct reader_plan *plan,
                                  struct bytes text, struct error *err)
{
    if (text.size > JSON_MAX_BYTES) {
        error_set(err, "not JSON: %zu bytes are more than any message has", text.size);
        return READ_NOT_JSON;
    }
    make_room(reader, plan, text.size);
    buffer_append(&reader->scratch, text.data, text.size);
    struct json_fault fault;
    if (json_walk(reader->parser, reader->scratch.data, text.size, plan->places, reader->found,
                  &fault))
        return READ_OK;
    error_set(err, "not JSON: %s (byte %zu)", fault.what, fault.at);
    return READ_NOT_JSON;
}

enum read_result reader_read(struct reader *reader, const struct reader_plan *plan,
                             struct bytes text, struct record *record, struct error *err)
{
    enum read_result result = walk_text(reader, plan, text, err);
    if (result != READ_OK)
        return result;
    struct reading reading = {plan, text, reader->scratch.data, reader->found};
    size_t shape = choose_shape(&reading);
    if (shape == plan->n_shapes) {
        explain_no_shape(&reading, &reader->reason, err);
        return READ_NO_SHAPE;
    }
    *record = (struct record){reader->values, plan->n_fields, shape, NULL};
    return read_fields(&reading, record, reader->unread, err);
}
