/* core-service rebuild-ledger: fills the ledger from the rows that are there. */
#include <stdio.h>
#include <stdlib.h>

#include "app/app.h"
#include "app/commands.h"
#include "store/rebuild.h"

static void on_day(const struct rebuilt_day *day, void *arg)
{
    (void)arg;
    printf("%s %s: %ld series\n", day->table, day->day, day->n_series);
    fflush(stdout);
}

int command_rebuild_ledger(const struct settings *settings)
{
    struct error err = {""};
    struct rules_generation *generation = command_load(settings, &err);
    if (!generation)
        return command_fail(EXIT_FAILED, &err);

    const struct rules_def *def = rules_generation_def(generation);
    char *database = settings_database(settings);
    bool ok = true;
    size_t n_tables = 0;
    for (size_t s = 0; ok && s < def->n_streams; s++)
        for (size_t t = 0; ok && t < def->streams[s].n_tables; t++) {
            const struct table_def *table = &def->streams[s].tables[t];
            if (!table->track.by)
                continue;
            n_tables++;
            ok = rebuild_table(database, table, on_day, NULL, &err);
        }
    free(database);
    rules_generation_free(generation);
    if (!ok)
        return command_fail(EXIT_FAILED, &err);
    printf("ok: %zu tables\n", n_tables);
    return EXIT_OK;
}
