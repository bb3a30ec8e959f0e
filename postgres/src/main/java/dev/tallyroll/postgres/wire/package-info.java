/** PostgreSQL's binary COPY format, as rows of fields and back. */
@NullMarked
package dev.tallyroll.postgres.wire;

import org.jspecify.annotations.NullMarked;
