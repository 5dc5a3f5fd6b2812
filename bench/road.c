/* Microseconds of CPU for a message on its way from bytes to a row, step by step, for each message
 * of spec/fixtures/market_data.jsonl: with the host's reader of declared fields, and with the whole
 * message decoded by lua-cjson. The steps are what bench/road.lua's streams add to each other;
 * "read" and "decode" contain the entry into Lua and a map() that returns at once.
 *
 *   cmake --preset release -DCS_BENCH=ON && ninja -C build bench_road && build/bench/bench_road
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "rules/snapshot.h"
#include "rules/state.h"

#define ROUNDS     11
#define REPETITION 10000
#define STREAMS    6

static char *read_file(const char *path)
{
    struct buffer text = {0};
    FILE *file = fopen(path, "r");
    if (!file)
        die("cannot read %s", path);
    size_t got;
    while ((got = fread(buffer_reserve(&text, 4096), 1, 4096, file)) > 0)
        text.size += got;
    fclose(file);
    buffer_append_byte(&text, '\0');
    return text.data;
}

/* The shipped rules with an init.lua of our own. */
static struct rules_snapshot *with_bench(void)
{
    struct error err = {.text = ""};
    struct buffer files = {0};
    struct rules_snapshot *shipped = rules_snapshot_read(CS_SOURCE_DIR "/lua", &err);
    if (!shipped)
        die("%s", err.text);
    rules_snapshot_to_json(shipped, &files);
    json_t *all = json_loadb(files.data, files.size, 0, NULL);
    char *road = read_file(CS_SOURCE_DIR "/bench/road.lua");
    json_object_set_new(all, "road.lua", json_string(road));
    json_object_set_new(all, "init.lua",
                        json_string("return { streams = require 'road', endpoints = {} }"));
    char *text = json_dumps(all, 0);
    struct rules_snapshot *snapshot = rules_snapshot_from_json(bytes_of_string(text), &err);
    if (!snapshot)
        die("%s", err.text);
    free(text);
    free(road);
    json_decref(all);
    buffer_free(&files);
    rules_snapshot_free(shipped);
    return snapshot;
}

static struct rules_state *load(void)
{
    static const struct rules_options options = {
        .load_ms = 1000,
        .map_ms = 50,
        .request_ms = 50,
        .reply_ms = 200,
        .memory_bytes = (size_t)64 << 20,
        .message_max_bytes = (size_t)1 << 20,
    };
    struct error err = {.text = ""};
    struct rules_snapshot *snapshot = with_bench();
    struct rules_state *state = rules_state_new(snapshot, &options, &err);
    if (!state)
        die("%s", err.text);
    rules_snapshot_free(snapshot);
    return state;
}

static double measure(struct rules_state *state, size_t stream, const struct message *message)
{
    struct arena arena = {0};
    struct map_result result;
    int64_t start_us = clock_thread_cpu_us();
    for (int i = 0; i < REPETITION; i++) {
        rules_map(state, stream, message, &arena, &result);
        if (result.verdict == MAP_REJECT)
            die("refused: %.*s", (int)result.reason.size, result.reason.data);
        arena_reset(&arena);
    }
    double us = (double)(clock_thread_cpu_us() - start_us) / REPETITION;
    arena_free(&arena);
    return us;
}

static int compare(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return difference < 0 ? -1 : difference > 0;
}

static void print_line(struct rules_state *state, int number, struct bytes line)
{
    const struct message message = {.topic = "bench", .timestamp_ms = -1, .payload = line};
    double us[STREAMS][ROUNDS], median[STREAMS];
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < STREAMS; i++)
            us[i][round] = measure(state, i, &message);
    for (size_t i = 0; i < STREAMS; i++) {
        qsort(us[i], ROUNDS, sizeof(double), compare);
        median[i] = us[i][ROUNDS / 2];
    }
    printf("| %d | %zu |", number, line.size);
    for (size_t i = 0; i < STREAMS; i += 3)
        printf(" %.2f | %.2f | %.2f | **%.2f** |", median[i], median[i + 1] - median[i],
               median[i + 2] - median[i + 1], median[i + 2]);
    printf(" %.1f |\n", median[5] / median[2]);
}

int main(void)
{
    struct rules_state *state = load();
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    FILE *file = fopen(CS_SOURCE_DIR "/spec/fixtures/market_data.jsonl", "r");
    if (!file)
        die("no messages");
    printf("| line | bytes | read | map | row | **after** | decode | map | row | **before** | "
           "ratio |\n"
           "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (int number = 1; (size = getline(&line, &capacity, file)) > 0; number++)
        print_line(state, number, bytes_of(line, (size_t)size));
    fclose(file);
    free(line);
    rules_state_free(state);
    return 0;
}
