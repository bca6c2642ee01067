/* SPDX-License-Identifier: Apache-2.0 */
/* Facts of a row in words, for people. */
#pragma once

#include <stdint.h>

#include "row.h"

/* All of these are allocated; NULL on ENOMEM. */

/* "rabbit", "rabbit@mail" where the host part is known. */
char *sentence_name(const Row *row);
/* "rabbit.service (main process 812), user rabbitmq (uid 112)". */
char *sentence_who(const Row *row);
/* "port 25672 on every address", "port 25672 on 127.0.0.2", "port 25672" where that is not told. */
char *sentence_where(const Row *row);
/* "ready, says its unit". */
char *sentence_state(const Row *row);
/* "2026-11-21 02:02:03 (3 h 10 min ago)". */
char *sentence_when(uint64_t usec, uint64_t now_usec);
/* How a registration ended: "its connection ended: the node left or died". */
char *sentence_how(const Row *row);
/* By which evidence it is alive. */
char *sentence_evidence(const Row *row);
/* Why a newcomer was refused. */
char *sentence_reason(const Row *row);
/* What it has told of itself: "version=1.2 zone=b"; empty where it has told nothing. */
char *sentence_pairs(const Row *row);
/* Who did it: "uid 0" is "root (uid 0)". NULL also where nobody did. */
char *sentence_by(const Row *row);
