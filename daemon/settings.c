/* SPDX-License-Identifier: Apache-2.0 */
/* Knows the settings that may change while the daemon runs. Does not know where they come from. */

#include "settings.h"

void settings_done(Settings *settings) {
        access_list_done(&settings->lookup_from);
        access_list_done(&settings->list_from);
        rules_done(&settings->rules);
        *settings = (Settings){ 0 };
}
