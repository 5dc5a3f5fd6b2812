/* Microseconds per message for each message of spec/fixtures/market_data.jsonl: the strict walk
 * alone, and the whole of reader_read(), beside jansson's parse for comparison.
 *
 *   cmake --preset release -DCS_BENCH=ON && ninja -C build bench_reader && build/bench/bench_reader
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "message/json.h"
#include "message/reader.h"
#include "support/market_data.h"

#define ROUNDS     5
#define REPETITION 200000

struct subject {
    struct reader *reader;
    struct reader_plan *plan;
    struct json_parser *parser;
    char *scratch;
    struct bytes text;
};

typedef void measured(struct subject *subject);

static void read_fields(struct subject *subject)
{
    struct record record;
    struct error err;
    if (reader_read(subject->reader, subject->plan, subject->text, &record, &err) != READ_OK)
        die("%s", err.text);
}

static void walk_only(struct subject *subject)
{
    static const struct json_place root = {.end = 1};
    struct json_found found;
    struct json_fault fault;
    memcpy(subject->scratch, subject->text.data, subject->text.size);
    if (!json_walk(subject->parser, subject->scratch, subject->text.size, &root, &found, &fault))
        die("%s", fault.what);
}

static void parse_with_jansson(struct subject *subject)
{
    json_t *json = json_loadb(subject->text.data, subject->text.size, 0, NULL);
    if (!json)
        die("jansson refuses the message");
    json_decref(json);
}

/* The best of some rounds: what the code costs, without what else the machine did. */
static double best_us(measured *function, struct subject *subject)
{
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start_us = clock_thread_cpu_us();
        for (int i = 0; i < REPETITION; i++)
            function(subject);
        double us = (double)(clock_thread_cpu_us() - start_us) / REPETITION;
        if (round == 0 || us < best)
            best = us;
    }
    return best;
}

int main(void)
{
    static const char path[] = CS_SOURCE_DIR "/spec/fixtures/market_data.jsonl";
    FILE *file = fopen(path, "r");
    if (!file)
        die("cannot read %s", path);
    struct reader_def def = market_data_def();
    struct error err;
    struct subject subject = {.reader = reader_new(), .parser = json_parser_new()};
    subject.plan = reader_plan_new(&def, &err);
    if (!subject.plan || !subject.parser)
        die("%s", err.text);
    printf("%5s %8s %12s %12s %12s   (us per message)\n", "line", "bytes", "walk", "reader_read",
           "jansson");
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    for (int number = 1; (size = getline(&line, &capacity, file)) > 0; number++) {
        subject.text = bytes_of(line, (size_t)size);
        subject.scratch = memory_resize(subject.scratch, subject.text.size + JSON_PADDING);
        if (!json_parser_reserve(subject.parser, subject.text.size))
            die("no memory");
        printf("%5d %8zu %12.3f %12.3f %12.3f\n", number, subject.text.size,
               best_us(walk_only, &subject), best_us(read_fields, &subject),
               best_us(parse_with_jansson, &subject));
    }
    free(line);
    free(subject.scratch);
    json_parser_free(subject.parser);
    reader_plan_free(subject.plan);
    reader_free(subject.reader);
    fclose(file);
    return 0;
}
