/** The embedded PostgreSQL: unpacked, started, shared and stopped. */
@NullMarked
package dev.tallyroll.cli.embedded;

import org.jspecify.annotations.NullMarked;
