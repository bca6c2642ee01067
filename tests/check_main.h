/* SPDX-License-Identifier: Apache-2.0 */
/* What a unit test program owes to the shared main(). */
#pragma once

#include <check.h>

Suite *suite(void);
