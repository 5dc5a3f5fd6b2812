#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>

#include "http/address.h"
#include "http/rate.h"

#define SECOND_US INT64_C(1000000)
#define START_US  (100 * SECOND_US) /* a machine has been up for some time */

static struct address address_of(const char *text)
{
    struct address address;
    if (!address_parse(bytes_of_string(text), &address))
        fail_msg("%s is no address", text);
    return address;
}

static struct rate_key key_of(const char *text)
{
    struct address address = address_of(text);
    return rate_key_of_address(&address);
}

static struct rate_key numbered_key(uint32_t number)
{
    struct rate_key key = {{0}};
    memcpy(key.bytes, &number, sizeof number);
    key.bytes[15] = 1;
    return key;
}

/* How many of `n` requests at once pass. */
static int passed_of(struct rate *rate, const struct rate_key *key, int n, int64_t now_us)
{
    int passed = 0;
    for (int i = 0; i < n; i++)
        passed += rate_take(rate, key, now_us).allowed;
    return passed;
}

/* ---- the bucket ---- */

static void lets_a_burst_pass_and_then_the_rate(void **state)
{
    (void)state;
    struct rate *rate = rate_new(10, 5);
    struct rate_key key = key_of("192.0.2.1");
    assert_int_equal(passed_of(rate, &key, 100, START_US), 5);
    assert_int_equal(passed_of(rate, &key, 100, START_US + SECOND_US / 10), 1);
    assert_int_equal(passed_of(rate, &key, 100, START_US + SECOND_US * 4 / 10), 3);
    assert_int_equal(passed_of(rate, &key, 100, START_US + SECOND_US * 100), 5);
    rate_free(rate);
}

static void refusals_cost_no_tokens(void **state)
{
    (void)state;
    struct rate *rate = rate_new(1, 1);
    struct rate_key key = key_of("192.0.2.1");
    assert_int_equal(passed_of(rate, &key, 1, START_US), 1);
    assert_int_equal(passed_of(rate, &key, 1000, START_US + SECOND_US / 2), 0);
    assert_int_equal(passed_of(rate, &key, 1, START_US + SECOND_US), 1);
    rate_free(rate);
}

static void tells_the_client_where_it_stands(void **state)
{
    (void)state;
    struct rate *rate = rate_new(2, 4);
    struct rate_key key = key_of("192.0.2.1");
    struct rate_verdict verdict = rate_take(rate, &key, START_US);
    assert_true(verdict.allowed);
    assert_int_equal(verdict.limit, 4);
    assert_int_equal(verdict.remaining, 3);
    assert_int_equal(verdict.reset_s, 1);
    passed_of(rate, &key, 3, START_US);
    verdict = rate_take(rate, &key, START_US);
    assert_false(verdict.allowed);
    assert_int_equal(verdict.limit, 4);
    assert_int_equal(verdict.remaining, 0);
    assert_int_equal(verdict.reset_s, 2);
    assert_int_equal(verdict.retry_after_s, 1);
    rate_free(rate);
}

/* A client that waits as long as it was told gets in. */
static void keeps_its_word_about_when_to_come_back(void **state)
{
    (void)state;
    static const double rates[] = {0.0001, 0.1, 0.3, 1, 3, 7, 1000, 1000000};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct rate *rate = rate_new(rates[i], 3);
        struct rate_key key = key_of("192.0.2.1");
        struct rate_verdict verdict;
        assert_int_equal(passed_of(rate, &key, 3, START_US), 3);
        verdict = rate_take(rate, &key, START_US);
        assert_false(verdict.allowed);
        assert_in_range(verdict.retry_after_s, 1, 3600);
        assert_true(rate_take(rate, &key, START_US + verdict.retry_after_s * SECOND_US).allowed);
        rate_free(rate);
    }
}

static void holds_twice_the_rate_unless_told(void **state)
{
    (void)state;
    struct rate_key key = key_of("192.0.2.1");
    struct rate *rate = rate_new(2.2, 0);
    assert_int_equal(passed_of(rate, &key, 100, START_US), 5);
    rate_free(rate);
    rate = rate_new(0.001, 0);
    assert_int_equal(passed_of(rate, &key, 100, START_US), 1);
    rate_free(rate);
    rate = rate_new(0.001, 1000000);
    assert_int_equal(passed_of(rate, &key, 1000001, START_US), 1000000);
    rate_free(rate);
}

/* ---- whose ---- */

static void tells_clients_apart(void **state)
{
    (void)state;
    struct rate *rate = rate_new(1, 1);
    static const char *const clients[] = {"192.0.2.1",       "192.0.2.2", "2001:db8:0:1::1",
                                          "2001:db8:0:2::1", "::1",       "0.0.0.0"};
    for (size_t i = 0; i < sizeof clients / sizeof clients[0]; i++) {
        struct rate_key key = key_of(clients[i]);
        assert_int_equal(passed_of(rate, &key, 2, START_US), 1);
    }
    struct rate_key ann = rate_key_of_subject(bytes_of_string("ann"));
    struct rate_key bob = rate_key_of_subject(bytes_of_string("bob"));
    assert_int_equal(passed_of(rate, &ann, 2, START_US), 1);
    assert_int_equal(passed_of(rate, &bob, 2, START_US), 1);
    assert_int_equal(passed_of(rate, &ann, 2, START_US), 0);
    rate_free(rate);
}

static void counts_an_ipv6_network_as_one_client(void **state)
{
    (void)state;
    struct rate *rate = rate_new(1, 3);
    int passed = 0;
    for (int i = 1; i < 100; i++) {
        char text[64];
        snprintf(text, sizeof text, "2001:db8:0:1:%x::%x", i, i);
        struct rate_key key = key_of(text);
        passed += rate_take(rate, &key, START_US).allowed;
    }
    assert_int_equal(passed, 3);
    struct rate_key mapped = key_of("::ffff:192.0.2.1"), plain = key_of("192.0.2.1");
    assert_memory_equal(&mapped, &plain, sizeof mapped);
    rate_free(rate);
}

/* ---- the table ---- */

static void a_flood_of_addresses_does_not_free_those_who_are_at_their_limit(void **state)
{
    (void)state;
    struct rate *rate = rate_new(1, 10);
    struct rate_key greedy[50];
    for (uint32_t i = 0; i < 50; i++) {
        greedy[i] = numbered_key(i);
        assert_int_equal(passed_of(rate, &greedy[i], 20, START_US), 10);
    }
    for (uint32_t i = 0; i < 10 * RATE_BUCKETS; i++) {
        struct rate_key key = numbered_key(1000000 + i);
        assert_true(rate_take(rate, &key, START_US).allowed);
    }
    int passed = 0;
    for (size_t i = 0; i < 50; i++)
        passed += passed_of(rate, &greedy[i], 20, START_US);
    assert_int_equal(passed, 0);
    rate_free(rate);
}

static void keeps_as_many_clients_apart_as_it_says(void **state)
{
    (void)state;
    struct rate *rate = rate_new(1, 1);
    int passed = 0;
    for (uint32_t i = 0; i < RATE_BUCKETS / 4; i++) {
        struct rate_key key = numbered_key(i);
        assert_true(rate_take(rate, &key, START_US).allowed);
    }
    for (uint32_t i = 0; i < RATE_BUCKETS / 4; i++) {
        struct rate_key key = numbered_key(i);
        passed += rate_take(rate, &key, START_US).allowed;
    }
    assert_in_range(passed, 0, RATE_BUCKETS / 4 / 200);
    rate_free(rate);
}

struct taker {
    pthread_t thread;
    struct rate *rate;
    int passed;
};

static void *take_many(void *arg)
{
    struct taker *taker = arg;
    for (uint32_t i = 0; i < 20000; i++) {
        struct rate_key key = numbered_key(i % 4);
        taker->passed += rate_take(taker->rate, &key, START_US).allowed;
    }
    return NULL;
}

static void threads_share_the_buckets(void **state)
{
    (void)state;
    struct taker takers[4];
    struct rate *rate = rate_new(1, 1000);
    int passed = 0;
    for (size_t i = 0; i < 4; i++) {
        takers[i] = (struct taker){.rate = rate};
        assert_int_equal(pthread_create(&takers[i].thread, NULL, take_many, &takers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(takers[i].thread, NULL);
        passed += takers[i].passed;
    }
    assert_int_equal(passed, 4 * 1000);
    rate_free(rate);
}

/* ---- addresses ---- */

static void reads_addresses_as_proxies_write_them(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        {"192.0.2.1", "192.0.2.1:8080"},        {"192.0.2.1", "::ffff:192.0.2.1"},
        {"192.0.2.1", "[::ffff:192.0.2.1]:80"}, {"2001:db8::1", "[2001:db8::1]"},
        {"2001:db8::1", "[2001:DB8:0::1]:443"}, {"::1", "0:0:0:0:0:0:0:1"},
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        struct address a = address_of(same[i][0]), b = address_of(same[i][1]);
        assert_memory_equal(&a, &b, sizeof a);
    }
    static const char *const wrong[] = {
        "",          "unknown",      "_hidden",
        "192.0.2",   "192.0.2.1.1",  "192.0.2.256",
        "1.2.3.4:",  "1.2.3.4:port", "1.2.3.4:99999999",
        "[::1",      "[::1]80",      "[::1]:",
        "::1]",      "fe80::1%eth0", "1.2.3.4 5.6.7.8",
        "localhost", "[]",           "1::2::3",
        "[",         ":80",          "2001:db8:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct address address;
        if (address_parse(bytes_of_string(wrong[i]), &address))
            fail_msg("\"%s\" is taken for an address", wrong[i]);
    }
}

static void reads_addresses_of_sockets(void **state)
{
    (void)state;
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr other = {.sa_family = AF_UNIX};
    struct address address, expected = address_of("192.0.2.7");
    inet_pton(AF_INET, "192.0.2.7", &v4.sin_addr);
    inet_pton(AF_INET6, "::ffff:192.0.2.7", &v6.sin6_addr);
    assert_true(address_of_socket((struct sockaddr *)&v4, &address));
    assert_memory_equal(&address, &expected, sizeof address);
    assert_true(address_of_socket((struct sockaddr *)&v6, &address));
    assert_memory_equal(&address, &expected, sizeof address);
    assert_false(address_of_socket(&other, &address));
}

static struct proxies *proxies_of(const char *list)
{
    struct error err;
    struct proxies *proxies = proxies_new(list, &err);
    if (!proxies)
        fail_msg("%s", err.text);
    return proxies;
}

static bool trusts(const char *list, const char *text)
{
    struct proxies *proxies = proxies_of(list);
    struct address address = address_of(text);
    bool trusted = proxies_trust(proxies, &address);
    proxies_free(proxies);
    return trusted;
}

static void trusts_what_lies_in_a_block(void **state)
{
    (void)state;
    assert_false(trusts("", "127.0.0.1"));
    assert_false(trusts(NULL, "127.0.0.1"));
    assert_true(trusts("192.0.2.1", "192.0.2.1"));
    assert_false(trusts("192.0.2.1", "192.0.2.2"));
    assert_true(trusts("10.0.0.0/8", "10.255.1.2"));
    assert_false(trusts("10.0.0.0/8", "11.0.0.0"));
    assert_true(trusts("10.1.2.3/8", "10.9.9.9"));
    assert_true(trusts("172.16.0.0/12", "172.31.255.255"));
    assert_false(trusts("172.16.0.0/12", "172.32.0.0"));
    assert_true(trusts("192.0.2.128/25", "192.0.2.200"));
    assert_false(trusts("192.0.2.128/25", "192.0.2.100"));
    assert_true(trusts("0.0.0.0/0", "203.0.113.9"));
    assert_false(trusts("0.0.0.0/0", "2001:db8::1"));
    assert_true(trusts("::/0", "2001:db8::1"));
    assert_true(trusts("fd00::/8, 192.0.2.1 ,\t::1", "fdff::1"));
    assert_true(trusts("fd00::/8, 192.0.2.1 ,\t::1", "::1"));
    assert_false(trusts("fd00::/8, 192.0.2.1 ,\t::1", "fe00::1"));
    assert_true(trusts("10.0.0.0/8", "::ffff:10.1.1.1"));
    assert_true(trusts("2001:db8::1/128", "2001:db8::1"));
}

static void says_which_proxy_is_malformed(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "proxy",       "10.0.0.0/33", "10.0.0.0/", "/8",         "fd00::/129",     "10.0.0/8",
        "10.0.0.0/-1", "10.0.0.0/8x", "[::1]",     "1.2.3.4:80", "10.0.0.0/08000", "*"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct error err = {""};
        char list[64], quoted[64];
        snprintf(list, sizeof list, "127.0.0.1, %s,::1", wrong[i]);
        snprintf(quoted, sizeof quoted, "TRUSTED_PROXIES: \"%s\"", wrong[i]);
        assert_null(proxies_new(list, &err));
        if (!strstr(err.text, quoted))
            fail_msg("%s: %s", wrong[i], err.text);
    }
    struct error err;
    assert_null(proxies_new("127.0.0.1,", &err));
    assert_null(proxies_new(",", &err));
    assert_null(proxies_new(" ", &err));
}

static void assert_client(const char *peer, const char *forwarded, const char *expected)
{
    struct proxies *proxies = proxies_of("10.0.0.0/8,fd00::/8");
    struct address client = proxies_client(proxies, address_of(peer), forwarded);
    struct address wanted = address_of(expected);
    if (memcmp(&client, &wanted, sizeof client) != 0)
        fail_msg("%s for \"%s\" is not %s", peer, forwarded ? forwarded : "nothing", expected);
    proxies_free(proxies);
}

static void believes_only_proxies_that_are_trusted(void **state)
{
    (void)state;
    assert_client("192.0.2.1", "203.0.113.9", "192.0.2.1");
    assert_client("192.0.2.1", NULL, "192.0.2.1");
    assert_client("10.0.0.1", NULL, "10.0.0.1");
    assert_client("10.0.0.1", "", "10.0.0.1");
    assert_client("10.0.0.1", "203.0.113.9", "203.0.113.9");
    assert_client("fd00::1", " 2001:db8::9 ", "2001:db8::9");
    assert_client("10.0.0.1", "192.0.2.66, 203.0.113.9", "203.0.113.9");
    assert_client("10.0.0.1", "192.0.2.66,203.0.113.9:1234, 10.0.0.2,fd00::2", "203.0.113.9");
    assert_client("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3");
}

static void stops_where_the_way_cannot_be_read(void **state)
{
    (void)state;
    assert_client("10.0.0.1", "unknown", "10.0.0.1");
    assert_client("10.0.0.1", "203.0.113.9, unknown, 10.0.0.2", "10.0.0.2");
    assert_client("10.0.0.1", "203.0.113.9,", "10.0.0.1");
    assert_client("10.0.0.1", ",,,", "10.0.0.1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_a_burst_pass_and_then_the_rate),
        cmocka_unit_test(refusals_cost_no_tokens),
        cmocka_unit_test(tells_the_client_where_it_stands),
        cmocka_unit_test(keeps_its_word_about_when_to_come_back),
        cmocka_unit_test(holds_twice_the_rate_unless_told),
        cmocka_unit_test(tells_clients_apart),
        cmocka_unit_test(counts_an_ipv6_network_as_one_client),
        cmocka_unit_test(a_flood_of_addresses_does_not_free_those_who_are_at_their_limit),
        cmocka_unit_test(keeps_as_many_clients_apart_as_it_says),
        cmocka_unit_test(threads_share_the_buckets),
        cmocka_unit_test(reads_addresses_as_proxies_write_them),
        cmocka_unit_test(reads_addresses_of_sockets),
        cmocka_unit_test(trusts_what_lies_in_a_block),
        cmocka_unit_test(says_which_proxy_is_malformed),
        cmocka_unit_test(believes_only_proxies_that_are_trusted),
        cmocka_unit_test(stops_where_the_way_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
