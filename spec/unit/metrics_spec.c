/* metrics/: numbers from several threads and the text that Prometheus reads. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "metrics/metrics.h"

static void expect_text(struct metrics *metrics, const char *expected)
{
    struct buffer out = {0};
    buffer_append_string(&out, "");
    metrics_write(metrics, &out);
    assert_string_equal(out.data, expected);
    buffer_free(&out);
}

static void each_family_has_one_head_and_all_its_series(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    expect_text(metrics, "");
    struct label klines = {"stream", "klines"};
    struct label news = {"stream", "news"};
    counter_add(metrics_counter(metrics, "core_service_rows_total", "Rows.", &klines, 1), 3);
    gauge_set(metrics_gauge(metrics, "core_service_lag", "Lag.", NULL, 0), 0.5);
    counter_add(metrics_counter(metrics, "core_service_rows_total", "Rows.", &news, 1), UINT64_MAX);
    counter_add(metrics_counter(metrics, "core_service_rows_total", "Rows.", &klines, 1), 4);
    expect_text(metrics, "# HELP core_service_lag Lag.\n"
                         "# TYPE core_service_lag gauge\n"
                         "core_service_lag 0.5\n"
                         "# HELP core_service_rows_total Rows.\n"
                         "# TYPE core_service_rows_total counter\n"
                         "core_service_rows_total{stream=\"klines\"} 7\n"
                         "core_service_rows_total{stream=\"news\"} 18446744073709551615\n");
    metrics_free(metrics);
    metrics_free(NULL);
}

static void texts_are_escaped(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    struct label label = {"path", "a\"b\\c\nd\xff\xe2\x82\xac"};
    gauge_set(metrics_gauge(metrics, "x", "one \"line\"\nor \\two", &label, 1), NAN);
    label.value = "";
    gauge_set(metrics_gauge(metrics, "x", "", &label, 1), -INFINITY);
    expect_text(metrics, "# HELP x one \"line\"\\nor \\\\two\n"
                         "# TYPE x gauge\n"
                         "x{path=\"a\\\"b\\\\c\\nd\xef\xbf\xbd\xe2\x82\xac\"} NaN\n"
                         "x{path=\"\"} -Inf\n");
    metrics_free(metrics);
}

static void a_histogram_has_cumulative_buckets_sum_and_count(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    static const double bounds[] = {0.005, 0.1, 1};
    struct label label = {"route", "/health"};
    struct histogram *histogram =
        metrics_histogram(metrics, "seconds", "Time.", bounds, 3, &label, 1);
    histogram_observe(histogram, 0.005);
    histogram_observe(histogram, 0.05);
    histogram_observe(histogram, 0.25);
    histogram_observe(histogram, 7);
    expect_text(metrics, "# HELP seconds Time.\n"
                         "# TYPE seconds histogram\n"
                         "seconds_bucket{route=\"/health\",le=\"0.005\"} 1\n"
                         "seconds_bucket{route=\"/health\",le=\"0.1\"} 2\n"
                         "seconds_bucket{route=\"/health\",le=\"1\"} 3\n"
                         "seconds_bucket{route=\"/health\",le=\"+Inf\"} 4\n"
                         "seconds_sum{route=\"/health\"} 7.305\n"
                         "seconds_count{route=\"/health\"} 4\n");
    metrics_free(metrics);
}

static void a_histogram_without_labels_has_le_alone(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    static const double bounds[] = {1};
    metrics_histogram(metrics, "rows", "Rows.", bounds, 1, NULL, 0);
    expect_text(metrics, "# HELP rows Rows.\n# TYPE rows histogram\nrows_bucket{le=\"1\"} 0\n"
                         "rows_bucket{le=\"+Inf\"} 0\nrows_sum 0\nrows_count 0\n");
    metrics_free(metrics);
}

static void a_hidden_gauge_is_not_written_until_it_is_set(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    struct gauge *gauge = metrics_gauge(metrics, "lag", "Lag.", NULL, 0);
    gauge_set(gauge, 5);
    gauge_hide(gauge);
    expect_text(metrics, "");
    assert_true(gauge_get(gauge) == 5);
    gauge_add(gauge, -2);
    expect_text(metrics, "# HELP lag Lag.\n# TYPE lag gauge\nlag 3\n");
    metrics_free(metrics);
}

static void label_values_from_outside_cannot_fill_the_memory(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    struct counter *last = NULL;
    for (int i = 0; i < METRICS_SERIES_MAX + 500; i++) {
        char text[20];
        snprintf(text, sizeof text, "%d", i);
        struct label label = {"symbol", text};
        last = metrics_counter(metrics, "seen_total", "Seen.", &label, 1);
        counter_add(last, 1);
    }
    assert_int_equal(counter_get(last), 501);
    struct label first = {"symbol", "0"};
    assert_int_equal(counter_get(metrics_counter(metrics, "seen_total", "Seen.", &first, 1)), 1);
    struct buffer out = {0};
    metrics_write(metrics, &out);
    int lines = 0;
    for (size_t i = 0; i < out.size; i++)
        lines += out.data[i] == '\n';
    assert_int_equal(lines, METRICS_SERIES_MAX + 2);
    assert_non_null(strstr(out.data, "seen_total{symbol=\"other\"} 501\n"));
    buffer_free(&out);
    metrics_free(metrics);
}

static void names_from_outside_can_be_tried_first(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    struct label label = {"symbol", "BTC"};
    struct label other = {"interval", "1m"};
    struct label wrong = {"sym-bol", "BTC"};
    assert_true(metrics_accepts_counter(metrics, "a_total", &label, 1));
    metrics_counter(metrics, "a_total", "A.", &label, 1);
    metrics_gauge(metrics, "b", "B.", NULL, 0);
    assert_true(metrics_accepts_counter(metrics, "a_total", &label, 1));
    assert_false(metrics_accepts_counter(metrics, "a_total", &other, 1));
    assert_false(metrics_accepts_counter(metrics, "a_total", NULL, 0));
    assert_false(metrics_accepts_counter(metrics, "b", NULL, 0));
    assert_false(metrics_accepts_counter(metrics, "c-total", NULL, 0));
    assert_false(metrics_accepts_counter(metrics, "1c", NULL, 0));
    assert_false(metrics_accepts_counter(metrics, "", NULL, 0));
    assert_false(metrics_accepts_counter(metrics, "c_total", &wrong, 1));
    metrics_free(metrics);
}

struct collecting {
    struct metrics *metrics;
    int calls;
};

static void collect(void *arg)
{
    struct collecting *collecting = arg;
    collecting->calls++;
    gauge_set(metrics_gauge(collecting->metrics, "calls", "Calls.", NULL, 0), collecting->calls);
}

static void collectors_run_before_the_text_is_written(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    struct collecting collecting = {.metrics = metrics};
    metrics_on_collect(metrics, collect, &collecting);
    expect_text(metrics, "# HELP calls Calls.\n# TYPE calls gauge\ncalls 1\n");
    expect_text(metrics, "# HELP calls Calls.\n# TYPE calls gauge\ncalls 2\n");
    metrics_free(metrics);
}

enum { THREADS = 4, ROUNDS = 20000 };

static void *count(void *arg)
{
    struct metrics *metrics = arg;
    static const double bounds[] = {1, 2};
    struct counter *counter = metrics_counter(metrics, "n_total", "N.", NULL, 0);
    struct gauge *gauge = metrics_gauge(metrics, "g", "G.", NULL, 0);
    struct histogram *histogram = metrics_histogram(metrics, "h", "H.", bounds, 2, NULL, 0);
    for (int i = 0; i < ROUNDS; i++) {
        counter_add(counter, 1);
        gauge_add(gauge, 0.5);
        histogram_observe(histogram, 1.5);
    }
    return NULL;
}

static void nothing_is_lost_when_threads_count_together(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_new();
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, metrics), 0);
    struct buffer out = {0};
    metrics_write(metrics, &out);
    buffer_free(&out);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    expect_text(metrics, "# HELP g G.\n# TYPE g gauge\ng 40000\n"
                         "# HELP h H.\n# TYPE h histogram\n"
                         "h_bucket{le=\"1\"} 0\nh_bucket{le=\"2\"} 80000\n"
                         "h_bucket{le=\"+Inf\"} 80000\nh_sum 120000\nh_count 80000\n"
                         "# HELP n_total N.\n# TYPE n_total counter\nn_total 80000\n");
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_family_has_one_head_and_all_its_series),
        cmocka_unit_test(texts_are_escaped),
        cmocka_unit_test(a_histogram_has_cumulative_buckets_sum_and_count),
        cmocka_unit_test(a_histogram_without_labels_has_le_alone),
        cmocka_unit_test(a_hidden_gauge_is_not_written_until_it_is_set),
        cmocka_unit_test(label_values_from_outside_cannot_fill_the_memory),
        cmocka_unit_test(names_from_outside_can_be_tried_first),
        cmocka_unit_test(collectors_run_before_the_text_is_written),
        cmocka_unit_test(nothing_is_lost_when_threads_count_together),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
