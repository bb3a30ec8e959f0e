/** SQL scripts as psql reads them: statements, commands of psql itself, and data. */
@NullMarked
package dev.tallyroll.schema.script;

import org.jspecify.annotations.NullMarked;
