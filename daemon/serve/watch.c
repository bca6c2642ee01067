#include "serve/watch.h"
#include "serve/answer.h"
struct Watch { int x; };
int watch_new(Watch **ret, const Registry *registry) { (void)registry; *ret = calloc(1, sizeof **ret); return 0; }
Watch *watch_free(Watch *watch) { free(watch); return NULL; }
void watch_note(Watch *watch, const LedgerNews *news) { (void)watch; (void)news; }
void watch_tell(Watch *watch, uint64_t revision) { (void)watch; (void)revision; }
void watch_on_request(Watch *watch, Conn *conn, const ControlRequest *request) { (void)watch; (void)request; answer_error(conn, CONTROL_E_BUSY, "no"); }
size_t watch_n(const Watch *watch) { (void)watch; return 0; }
uint64_t watch_epoch(const Watch *watch) { (void)watch; return 0; }
