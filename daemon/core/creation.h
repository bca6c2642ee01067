/* SPDX-License-Identifier: Apache-2.0 */
/* Creations (P5): the numbers that tell a node's incarnations apart, and their order. Pure. */
#pragma once

#include <stdint.h>

/* A 32-bit creation is CREATION_MIN..2^32-1 (0..3 would be taken for a 16-bit one); then they begin again. */
#define CREATION_MIN 4
/* What nodes below NODE_VERSION_CREATION_32 are given: 1..CREATION_SMALL_MAX. */
#define CREATION_SMALL_MAX 3
/* Creations are reserved on disk in blocks; the next block is asked for when half is used. */
#define CREATION_BLOCK 1000

/* The creation `n` places after `creation`. */
uint32_t creation_add(uint32_t creation, uint32_t n);
/* How many places `to` is after `from`. */
uint32_t creation_distance(uint32_t from, uint32_t to);

/* The later of two marks; 0 is "none". Marks of one registry lie close to each other, so they are compared
 * as sequence numbers are (RFC 1982): 1000 is later than 4294967000. */
uint32_t creation_later(uint32_t a, uint32_t b);

/* Where to go on, given the latest mark that was found and the time. The time jumps forward only, beyond
 * all that a lost file may have said: registries began at the time when they were new, and creations are
 * given more slowly than seconds pass. A clock that is near the end of the range (the year 2089) is not
 * believed, unless there is no mark at all. */
uint32_t creation_first(uint32_t mark, uint64_t unix_seconds);

/* Where to go on if it cannot be found out how far they were given: the file is there, perhaps, but the disk
 * does not let us read it. So far beyond the time that a registry does not get there by giving creations
 * faster than seconds pass (16 million registrations would be needed), and at a `random` place beyond it, since
 * the disk may not let us write down either where that was. */
uint32_t creation_unknown(uint64_t unix_seconds, uint32_t random);

/* The small creation that goes with `creation`, other than `previous` (the name's last one, of either kind;
 * 0: none is known). */
uint32_t creation_small(uint32_t creation, uint32_t previous);
