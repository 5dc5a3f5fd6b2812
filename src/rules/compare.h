/* Two JSON texts with keys in the same order, compared by value. Private to rules/. */
#ifndef RULES_COMPARE_H
#define RULES_COMPARE_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/error.h"

/* Equal texts, but numbers count by their value: 50000 is 50000.00. False: `err` shows both, or
 * where they part when they are long. */
bool rules_compare_json(struct bytes expected, struct bytes got, struct error *err);

#endif
