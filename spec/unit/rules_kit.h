/* Rules written inline, for the specs of src/rules. Included once by each. */
#ifndef SPEC_RULES_KIT_H
#define SPEC_RULES_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "rules/state.h"

struct kit_file {
    const char *path;
    const char *text;
};

static const char *const kit_taken_paths[] = {"/health", NULL};

/* A spec may change them for a while. */
static struct rules_options kit_options = {
    .load_ms = 2000,
    .map_ms = 50,
    .request_ms = 50,
    .reply_ms = 50,
    .memory_bytes = (size_t)16 << 20,
    .message_max_bytes = (size_t)1 << 20,
    .taken_paths = kit_taken_paths,
};

static int kit_compare(const void *left, const void *right)
{
    return strcmp(((const struct rules_file *)left)->path,
                  ((const struct rules_file *)right)->path);
}

/* Files end with an entry whose path is NULL. */
static struct rules_state *kit_load_with(const struct rules_options *options,
                                         const struct kit_file *files, struct error *err)
{
    struct rules_file kept[100];
    size_t n_files = 0;
    for (; files[n_files].path; n_files++)
        kept[n_files] = (struct rules_file){(char *)(uintptr_t)files[n_files].path,
                                            (char *)(uintptr_t)files[n_files].text,
                                            strlen(files[n_files].text)};
    qsort(kept, n_files, sizeof(*kept), kit_compare);
    struct rules_snapshot snapshot = {.files = kept, .n_files = n_files};
    return rules_state_new(&snapshot, options, err);
}

static inline struct rules_state *kit_load(const struct kit_file *files)
{
    struct error err = {.text = ""};
    struct rules_state *state = kit_load_with(&kit_options, files, &err);
    if (!state)
        fail_msg("the rules do not load: %s", err.text);
    return state;
}

/* The one stream of `text`, which is what comes behind "return " in streams/x.lua. */
static inline struct rules_state *kit_stream(const char *text)
{
    const struct kit_file files[] = {{"init.lua", "return { streams = { require 'streams.x' } }"},
                                     {"streams/x.lua", text},
                                     {NULL, NULL}};
    return kit_load(files);
}

static inline struct rules_state *kit_endpoint(const char *text)
{
    const struct kit_file files[] = {
        {"init.lua", "return { endpoints = { require 'endpoints.x' } }"},
        {"endpoints/x.lua", text},
        {NULL, NULL}};
    return kit_load(files);
}

/* Loading these files fails, and the error has `part` in it. */
static inline void kit_expect_trouble(const struct kit_file *files, const char *part)
{
    struct error err = {.text = ""};
    struct rules_state *state = kit_load_with(&kit_options, files, &err);
    rules_state_free(state);
    if (state)
        fail_msg("the rules load, expected: %s", part);
    if (!strstr(err.text, part))
        fail_msg("expected: %s\n     got: %s", part, err.text);
}

/* Maps one message of stream 0. */
static inline struct map_result kit_map(struct rules_state *state, struct arena *arena,
                                        const char *payload)
{
    struct map_result result;
    const struct message message = {.topic = "topic",
                                    .partition = 3,
                                    .offset = 42,
                                    .timestamp_ms = 1704067200000,
                                    .key = bytes_of_string("BTCUSDT_1m"),
                                    .payload = bytes_of_string(payload)};
    rules_map(state, 0, &message, arena, &result);
    return result;
}

static inline void kit_expect_bytes(struct bytes got, const char *expected)
{
    char *shown = memory_string_n(got.data ? got.data : "(absent)", got.data ? got.size : 8);
    assert_string_equal(shown, expected);
    free(shown);
}

static inline void kit_expect_refusal(const struct map_result *result, enum map_verdict verdict,
                                      const char *part)
{
    if (result->verdict != verdict ||
        !memmem(result->reason.data, result->reason.size, part, strlen(part)))
        fail_msg("expected verdict %d with: %s\n     got %d with: %.*s", verdict, part,
                 result->verdict, (int)result->reason.size,
                 result->reason.data ? result->reason.data : "");
}

/* The value of a column of the row. */
static inline const struct value *kit_value(const struct row *row, const char *column)
{
    for (size_t i = 0; i < row->table->n_columns; i++)
        if (strcmp(row->table->columns[i].name, column) == 0)
            return &row->values[i];
    fail_msg("no column %s", column);
    return NULL;
}

/* Maps a message with a state of kit_evaluator(): what run() returned, as text, or the reason of
 * the refusal. free() it. */
static inline char *kit_run(struct rules_state *state, const char *payload)
{
    struct arena arena = {0};
    struct map_result result = kit_map(state, &arena, payload);
    struct bytes text =
        result.verdict == MAP_ROWS ? kit_value(&result.rows[0], "v")->text : result.reason;
    char *copy = memory_string_n(text.data, text.size);
    arena_free(&arena);
    return copy;
}

/* A stream whose map() calls run(m), a function with this body. */
static inline struct rules_state *kit_evaluator(const char *before, const char *body)
{
    char *text = memory_printf("%s local function run(m) %s end return { name = 'x', topic = 'x',\n"
                               "tables = { t = { columns = { v = 'text' }, key = { 'v' } } },\n"
                               "map = function(m) return { t = { v = tostring(run(m)) } } end }",
                               before, body);
    struct rules_state *state = kit_stream(text);
    free(text);
    return state;
}

static inline void kit_expect_text(struct rules_state *state, const char *body,
                                   const char *expected)
{
    char *got = kit_run(state, "{}");
    /* Positions in the file are of no interest here. */
    const char *part = strstr(got, expected);
    if (!part || strcmp(part, expected) != 0)
        fail_msg("%s\nexpected: %s\n     got: %s", body, expected, got);
    free(got);
}

/* `body` is what a function does; `expected` is what it returns, as text, or how the refusal's
 * reason ends. */
static inline void kit_expect(const char *body, const char *expected)
{
    struct rules_state *state = kit_evaluator("", body);
    kit_expect_text(state, body, expected);
    rules_state_free(state);
}

#endif
