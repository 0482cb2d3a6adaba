/* version.h -- which Magic this is.
 * Threads  static texts.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_VERSION_H
#define MG_BASE_VERSION_H

const char *mg_version(void);        /* "0.1.0" */
const char *mg_version_commit(void); /* "1a2b3c4d5e6f", with "-dirty" for a changed tree; "unknown" outside git */

#endif
