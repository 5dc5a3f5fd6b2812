/* The connection's own life: reached, refused, lost, silent, freed at awkward moments. */
#include "kit.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "store/connection.h"

/* What a connection told, and what to do to it when it tells. */
struct told {
    struct connection *connection;
    unsigned n_ready;
    unsigned n_lost;
    bool ready;
    bool lost;
    struct error err;
    bool free_on_ready;
    bool free_on_lost;
    bool free_on_result;
    bool free_on_end;
    unsigned n_results;
    unsigned n_ends;
    bool ended;
    enum segment_outcome outcome;
    struct segment_failure failure;
};

static void free_it(struct told *told)
{
    connection_free(told->connection);
    told->connection = NULL;
}

static void on_ready(void *arg)
{
    struct told *told = arg;
    told->ready = true;
    told->n_ready++;
    if (told->free_on_ready)
        free_it(told);
}

static void on_lost(const struct error *err, void *arg)
{
    struct told *told = arg;
    told->lost = true;
    told->n_lost++;
    told->err = *err;
    if (told->free_on_lost)
        free_it(told);
}

static void on_result(const struct pg_result *result, void *arg)
{
    (void)result;
    struct told *told = arg;
    told->n_results++;
    if (told->free_on_result)
        free_it(told);
}

static void on_end(enum segment_outcome outcome, const struct segment_failure *failure, void *arg)
{
    struct told *told = arg;
    told->n_ends++;
    told->ended = true;
    told->outcome = outcome;
    told->failure = *failure;
    if (told->free_on_end && told->connection)
        free_it(told);
}

static void open_with(struct kit *kit, struct told *told, const char *conninfo,
                      const char *const *setup, int connect_timeout_ms, int silence_timeout_ms)
{
    static const struct connection_events events = {on_ready, on_lost};
    const struct connection_options options = {
        .conninfo = conninfo,
        .application_name = "spec connection",
        .connect_timeout_ms = connect_timeout_ms,
        .silence_timeout_ms = silence_timeout_ms,
        .setup = setup,
    };
    told->connection = connection_new(kit->base, &options, &events, told);
    connection_open(told->connection);
}

static void open_ready(struct kit *kit, struct told *told)
{
    open_with(kit, told, kit->conninfo, NULL, 5000, 0);
    kit_run_until(kit, &told->ready, "it is ready");
}

static void send_sql(struct told *told, const char *sql)
{
    const struct statement statement = {.sql = sql};
    assert_true(connection_send(told->connection, &statement, on_result, told));
}

static void sync_and_wait(struct kit *kit, struct told *told)
{
    told->ended = false;
    assert_true(connection_sync(told->connection, on_end, told));
    kit_run_until(kit, &told->ended, "the segment ends");
}

/* ---- being reached ---- */

static void runs_its_setup_before_it_is_ready(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    const char *const setup[] = {"SET search_path = here", "CREATE SCHEMA here", NULL};
    open_with(kit, &told, kit->conninfo, setup, 5000, 0);
    assert_int_equal(connection_state(told.connection), CONNECTION_IDLE);
    kit_run_until(kit, &told.ready, "it is ready");
    assert_string_equal(connection_trouble(told.connection), "");
    send_sql(&told, "CREATE TABLE t (a int)");
    sync_and_wait(kit, &told);
    kit_expect(kit, "1", "SELECT count(*) FROM pg_tables WHERE schemaname = 'here'");
    connection_free(told.connection);
}

static void is_lost_when_its_setup_is_refused(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    const char *const setup[] = {"SET no_such_setting = 1", NULL};
    open_with(kit, &told, kit->conninfo, setup, 5000, 0);
    kit_run_until(kit, &told.lost, "it is lost");
    assert_non_null(strstr(told.err.text, "no_such_setting"));
    assert_int_equal(told.n_ready, 0);
    assert_int_equal(connection_state(told.connection), CONNECTION_BACKOFF);
    connection_free(told.connection);
}

static void tells_why_a_name_cannot_be_resolved(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    open_with(kit, &told, "host=no-such-name.invalid dbname=x", NULL, 5000, 0);
    kit_run_until(kit, &told.lost, "it is lost");
    assert_non_null(strstr(told.err.text, "could not resolve host \"no-such-name.invalid\""));
    connection_free(told.connection);
}

static void tries_all_hosts_in_their_order(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    char *conninfo = memory_printf(
        "postgresql:///%s?host=no-such-name.invalid,localhost,%s&port=1,1,5432&user=postgres",
        kit->name, getenv("TEST_POSTGRES_DIR"));
    open_with(kit, &told, conninfo, NULL, 5000, 0);
    kit_run_until(kit, &told.ready, "it is ready");
    assert_int_equal(told.n_lost, 0);
    connection_free(told.connection);
    free(conninfo);
}

static void says_which_address_refused_it_and_tries_again(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    open_with(kit, &told, "host=localhost port=1 user=postgres", NULL, 5000, 0);
    kit_run_until(kit, &told.lost, "it is lost");
    assert_non_null(strstr(told.err.text, "127.0.0.1"));
    assert_non_null(strstr(connection_trouble(told.connection), "refused"));
    told.lost = false;
    kit_run_until(kit, &told.lost, "it tries again");
    connection_free(told.connection);
}

static void tells_what_is_wrong_with_its_connection_string(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    open_with(kit, &told, "host=x nonsense=1", NULL, 5000, 0);
    kit_run_until(kit, &told.lost, "it is lost");
    assert_non_null(strstr(told.err.text, "nonsense"));
    connection_free(told.connection);
}

/* A port that takes connections and never says a word. */
static int listen_in_silence(int *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static void gives_up_a_server_that_does_not_answer_and_tries_the_next(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    int port, fd = listen_in_silence(&port);
    char *conninfo = memory_printf("host=127.0.0.1,%s port=%d,5432 user=postgres dbname=%s",
                                   getenv("TEST_POSTGRES_DIR"), port, kit->name);
    open_with(kit, &told, conninfo, NULL, 200, 0);
    kit_run_until(kit, &told.ready, "it is ready");
    assert_int_equal(told.n_lost, 1);
    assert_non_null(strstr(told.err.text, "no connection within 200 ms"));
    connection_free(told.connection);
    free(conninfo);
    close(fd);
}

static void stays_closed_when_it_is_closed(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    open_with(kit, &told, kit->conninfo, NULL, 5000, 0);
    connection_close(told.connection);
    struct told other = {0};
    open_ready(kit, &other);
    assert_int_equal(told.n_ready + told.n_lost, 0);
    assert_int_equal(connection_state(told.connection), CONNECTION_IDLE);
    connection_open(told.connection);
    kit_run_until(kit, &told.ready, "it is ready");
    connection_free(told.connection);
    connection_free(other.connection);
}

/* ---- segments ---- */

static void rolls_a_whole_segment_back(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    open_ready(kit, &told);
    send_sql(&told, "CREATE TABLE rolled_back (a int)");
    send_sql(&told, "SELECT 1");
    send_sql(&told, "SELECT 1 / 0");
    send_sql(&told, "SELECT 2");
    sync_and_wait(kit, &told);
    assert_int_equal(told.outcome, SEGMENT_FAILED);
    assert_int_equal(told.failure.statement, 2);
    assert_string_equal(told.failure.sqlstate, "22012");
    assert_int_equal(told.n_results, 2);
    kit_expect(kit, "0", "SELECT count(*) FROM pg_tables WHERE tablename = 'rolled_back'");
    send_sql(&told, "SELECT 1");
    sync_and_wait(kit, &told);
    assert_int_equal(told.outcome, SEGMENT_DONE);
    connection_free(told.connection);
}

static void fails_a_segment_whose_commit_fails(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    kit_sql(kit, "CREATE TABLE once (a int UNIQUE DEFERRABLE INITIALLY DEFERRED);"
                 "INSERT INTO once VALUES (1)");
    open_ready(kit, &told);
    send_sql(&told, "INSERT INTO once VALUES (1)");
    send_sql(&told, "SELECT 1");
    sync_and_wait(kit, &told);
    assert_int_equal(told.outcome, SEGMENT_FAILED);
    assert_string_equal(told.failure.sqlstate, "23505");
    assert_string_equal(told.failure.constraint, "once_a_key");
    assert_int_equal(told.failure.statement, 2);
    assert_int_equal(told.n_results, 2);
    send_sql(&told, "SELECT 1");
    sync_and_wait(kit, &told);
    assert_int_equal(told.outcome, SEGMENT_DONE);
    connection_free(told.connection);
}

static void keeps_neighbours_apart_when_a_shared_statement_cannot_be_prepared(void **state)
{
    struct kit *kit = *state;
    struct told first = {0}, second = {0};
    open_ready(kit, &first);
    second.connection = first.connection;
    /* The statement would be prepared by the first segment, which fails before it gets there. */
    send_sql(&first, "SELECT 1 / 0");
    send_sql(&first, "SELECT 42");
    assert_true(connection_sync(first.connection, on_end, &first));
    send_sql(&second, "SELECT 42");
    assert_true(connection_sync(second.connection, on_end, &second));
    kit_run_until(kit, &second.ended, "the second segment ends");
    assert_int_equal(first.outcome, SEGMENT_FAILED);
    assert_int_equal(second.outcome, SEGMENT_DONE);
    connection_free(first.connection);
}

/* ---- being lost ---- */

static void tells_every_segment_that_it_was_lost_before_it_tells_the_loss(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    open_ready(kit, &told);
    for (int i = 0; i < 3; i++) {
        send_sql(&told, "SELECT pg_sleep(5)");
        assert_true(connection_sync(told.connection, on_end, &told));
    }
    assert_int_equal(connection_in_flight(told.connection), 3);
    event_base_loop(kit->base, EVLOOP_NONBLOCK);
    kit_wait_sql(kit, "t",
                 "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity"
                 " WHERE application_name = 'spec connection' AND state = 'active'");
    kit_run_until(kit, &told.lost, "it is lost");
    assert_int_equal(told.n_ends, 3);
    assert_int_equal(told.outcome, SEGMENT_LOST);
    assert_non_null(strstr(told.err.text, "terminating connection due to administrator command"));
    const struct statement statement = {.sql = "SELECT 1"};
    assert_false(connection_send(told.connection, &statement, NULL, NULL));
    assert_false(connection_sync(told.connection, on_end, &told));
    connection_free(told.connection);
    assert_int_equal(told.n_ends, 3);
}

static void knows_why_it_was_ended_while_idle(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    open_ready(kit, &told);
    kit_sql(kit, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                 " WHERE application_name = 'spec connection'");
    kit_run_until(kit, &told.lost, "it is lost");
    assert_non_null(strstr(told.err.text, "terminating connection due to administrator command"));
    told.ready = false;
    kit_run_until(kit, &told.ready, "it is ready again");
    connection_free(told.connection);
}

static void gives_up_a_session_that_falls_silent(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    open_with(kit, &told, kit->conninfo, NULL, 5000, 200);
    kit_run_until(kit, &told.ready, "it is ready");
    send_sql(&told, "SELECT 1");
    sync_and_wait(kit, &told); /* an answered one leaves nothing behind that could go off */
    assert_int_equal(told.outcome, SEGMENT_DONE);
    send_sql(&told, "SELECT pg_sleep(1.5)");
    sync_and_wait(kit, &told);
    assert_int_equal(told.outcome, SEGMENT_LOST);
    kit_run_until(kit, &told.lost, "it is lost");
    assert_non_null(strstr(told.err.text, "no answer from PostgreSQL"));
    connection_free(told.connection);
}

static void comes_back_when_the_server_does(void **state)
{
    struct kit *kit = *state;
    struct told told = {0}, late = {0};
    open_ready(kit, &told);
    send_sql(&told, "SELECT 41");
    sync_and_wait(kit, &told);
    kit_server("stop");
    kit_run_until(kit, &told.lost, "it is lost");
    open_with(kit, &late, kit->conninfo, NULL, 5000, 0);
    kit_run_until(kit, &late.lost, "a new one is not reached");
    told.ready = false;
    kit_server("start");
    kit_run_until(kit, &told.ready, "it is ready again");
    kit_run_until(kit, &late.ready, "the new one is ready");
    send_sql(&told, "SELECT 41"); /* prepared anew: it is another session */
    sync_and_wait(kit, &told);
    assert_int_equal(told.outcome, SEGMENT_DONE);
    connection_free(told.connection);
    connection_free(late.connection);
}

static void takes_a_crash_of_the_server_for_a_loss(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    open_ready(kit, &told);
    send_sql(&told, "SELECT pg_sleep(5)");
    assert_true(connection_sync(told.connection, on_end, &told));
    event_base_loop(kit->base, EVLOOP_NONBLOCK);
    kit_server("kill");
    kit_run_until(kit, &told.ended, "the segment ends");
    assert_int_equal(told.outcome, SEGMENT_LOST);
    told.ready = false;
    kit_server("start");
    kit_run_until(kit, &told.ready, "it is ready again");
    connection_free(told.connection);
}

/* ---- being freed at awkward moments ---- */

static void may_be_freed_when_it_gets_ready(void **state)
{
    struct kit *kit = *state;
    struct told told = {.free_on_ready = true};
    open_with(kit, &told, kit->conninfo, NULL, 5000, 0);
    kit_run_until(kit, &told.ready, "it is ready");
    assert_null(told.connection);
}

static void may_be_freed_when_it_is_lost(void **state)
{
    struct kit *kit = *state;
    static const char *const conninfos[] = {"host=localhost port=1", "nonsense=1",
                                            "host=no-such-name.invalid"};
    for (int i = 0; i < 3; i++) {
        struct told told = {.free_on_lost = true};
        open_with(kit, &told, conninfos[i], NULL, 5000, 0);
        kit_run_until(kit, &told.lost, "it is lost");
        assert_null(told.connection);
    }
}

static void may_be_freed_by_a_result(void **state)
{
    struct kit *kit = *state;
    struct told told = {.free_on_result = true};
    open_ready(kit, &told);
    send_sql(&told, "SELECT 1");
    send_sql(&told, "SELECT 2");
    sync_and_wait(kit, &told);
    assert_null(told.connection);
    assert_int_equal(told.n_results, 1);
    assert_int_equal(told.outcome, SEGMENT_LOST);
}

static void may_be_freed_by_the_end_of_a_segment(void **state)
{
    struct kit *kit = *state;
    struct told told = {.free_on_end = true};
    open_ready(kit, &told);
    for (int i = 0; i < 3; i++) {
        send_sql(&told, "SELECT 1");
        assert_true(connection_sync(told.connection, on_end, &told));
    }
    kit_run_until(kit, &told.ended, "the segments end");
    assert_null(told.connection);
    assert_int_equal(told.n_ends, 3);
}

static void may_be_freed_while_a_name_is_resolved(void **state)
{
    struct kit *kit = *state;
    struct told told = {0};
    open_with(kit, &told, "host=localhost", NULL, 5000, 0);
    event_base_loop(kit->base, EVLOOP_ONCE);
    connection_free(told.connection);
    assert_int_equal(told.n_lost + told.n_ready, 0);
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(runs_its_setup_before_it_is_ready),
        cmocka_unit_test(is_lost_when_its_setup_is_refused),
        cmocka_unit_test(tells_why_a_name_cannot_be_resolved),
        cmocka_unit_test(tries_all_hosts_in_their_order),
        cmocka_unit_test(says_which_address_refused_it_and_tries_again),
        cmocka_unit_test(tells_what_is_wrong_with_its_connection_string),
        cmocka_unit_test(gives_up_a_server_that_does_not_answer_and_tries_the_next),
        cmocka_unit_test(stays_closed_when_it_is_closed),
        cmocka_unit_test(rolls_a_whole_segment_back),
        cmocka_unit_test(fails_a_segment_whose_commit_fails),
        cmocka_unit_test(keeps_neighbours_apart_when_a_shared_statement_cannot_be_prepared),
        cmocka_unit_test(tells_every_segment_that_it_was_lost_before_it_tells_the_loss),
        cmocka_unit_test(knows_why_it_was_ended_while_idle),
        cmocka_unit_test(gives_up_a_session_that_falls_silent),
        cmocka_unit_test(comes_back_when_the_server_does),
        cmocka_unit_test(takes_a_crash_of_the_server_for_a_loss),
        cmocka_unit_test(may_be_freed_when_it_gets_ready),
        cmocka_unit_test(may_be_freed_when_it_is_lost),
        cmocka_unit_test(may_be_freed_by_a_result),
        cmocka_unit_test(may_be_freed_by_the_end_of_a_segment),
        cmocka_unit_test(may_be_freed_while_a_name_is_resolved),
    };
    return cmocka_run_group_tests(specs, kit_setup, kit_teardown);
}
