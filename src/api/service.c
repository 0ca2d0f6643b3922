/* SPDX-License-Identifier: MIT */
/* What belongs to no dialect: files, events, usage, the page, health, metrics. Any dialect's key
 * header is good here. */
#include "api/core_impl.h"

static const char *const key_headers[] = {"x-magnific-api-key", "x-freepik-api-key", "x-key",
                                          "authorization", NULL};

const struct dialect dialect_service = {
    .id = DIALECT_MAGNIFIC,
    .key_headers = key_headers,
    .failure = failure_plain,
    .webhook = magnific_webhook,
};

static const struct route items[] = {
    {"GET", "/", &dialect_service, ROUTE_PAGE, page_handle, NULL},
    {"GET", "/favicon.ico", &dialect_service, ROUTE_PAGE, page_handle, NULL},
    {"GET", "/playground/{version}/{file}", &dialect_service, ROUTE_PAGE, page_handle, NULL},
    {"GET", "/v1/files/{name}", &dialect_service, 0, files_handle, NULL},
    {"GET", "/v1/tasks/{task-id}/events", &dialect_service, ROUTE_KEY, events_handle, NULL},
    {"GET", "/v1/tasks/{task-id}/preview", &dialect_service, ROUTE_KEY, preview_handle, NULL},
    {"GET", "/v1/usage", &dialect_service, ROUTE_KEY, usage_handle, NULL},
    {"GET", "/metrics", &dialect_service, ROUTE_PAGE, metrics_handle, NULL},
    {"GET", "/healthz", &dialect_service, ROUTE_PAGE, healthz_handle, NULL},
    {"GET", "/readyz", &dialect_service, ROUTE_PAGE, readyz_handle, NULL},
};
const struct route_list service_routes = {items, sizeof items / sizeof items[0]};
