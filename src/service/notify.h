/* SPDX-License-Identifier: MIT */
/* Tell systemd how the service is (Type=notify); nothing happens where it does not ask. */
#ifndef EASEL_SERVICE_NOTIFY_H
#define EASEL_SERVICE_NOTIFY_H

/* state: "READY=1", "STOPPING=1". */
void notify_systemd(const char *state);

#endif
