/* version.c -- the only file that is compiled again when the commit changes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/version.h"

#include "base/version_generated.h"

const char *mg_version(void) { return MG_VERSION_TEXT; }

const char *mg_version_commit(void) { return MG_VERSION_COMMIT; }
