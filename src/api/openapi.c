/* SPDX-License-Identifier: MIT */
/* GET /openapi.json: the description of all dialects, compiled in beside the playground. */
#include "api/core_impl.h"

static const struct route items[] = {
    {"GET", "/openapi.json", &dialect_service, 0, page_handle, NULL},
};
const struct route_list openapi_routes = {items, sizeof items / sizeof items[0]};
