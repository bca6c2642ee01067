/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who was shed or turned away how often, and what of it was said. Does not know how it is said.
 *
 * The trap: an attack can come from more addresses than are remembered. Who is forgotten is the one seen longest ago, so
 * that whoever goes on stays.
 */

#include "core/culprits.h"

static Culprit *find_oldest(Culprits *culprits) {
        Culprit *oldest = culprits->culprits;

        for (size_t i = 1; i < culprits->n_culprits; i++)
                if (culprits->culprits[i].last_usec < oldest->last_usec)
                        oldest = culprits->culprits + i;
        return oldest;
}

static Culprit *get_culprit(Culprits *culprits, const Party *party, uint64_t at_usec) {
        Culprit *culprit;

        for (size_t i = 0; i < culprits->n_culprits; i++)
                if (party_equal(&culprits->culprits[i].party, party))
                        return culprits->culprits + i;
        culprit = culprits->n_culprits < CULPRITS_MAX ? culprits->culprits + culprits->n_culprits++
                                                      : find_oldest(culprits);
        *culprit = (Culprit){ .party = *party, .since_usec = at_usec };
        return culprit;
}

Culprit *culprits_note(Culprits *culprits, const Party *party, CulpritDeed deed, uint64_t at_usec) {
        Culprit *culprit = get_culprit(culprits, party, at_usec);

        culprit->n_times[deed]++;
        culprit->last_usec = at_usec;
        return culprit;
}

bool culprit_has_news(const Culprit *culprit) {
        for (CulpritDeed deed = 0; deed < _CULPRIT_DEED_N; deed++)
                if (culprit->n_told[deed] < culprit->n_times[deed])
                        return true;
        return false;
}

uint64_t culprit_news_due(const Culprit *culprit, uint64_t interval_usec) {
        return culprit->told_usec == 0 ? 0 : culprit->told_usec + interval_usec;
}

void culprit_set_told(Culprit *culprit, uint64_t now_usec) {
        for (CulpritDeed deed = 0; deed < _CULPRIT_DEED_N; deed++)
                culprit->n_told[deed] = culprit->n_times[deed];
        culprit->told_usec = now_usec;
}
