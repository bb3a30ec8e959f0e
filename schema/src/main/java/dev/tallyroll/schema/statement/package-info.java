/** The SQL of an application: where it is found, and whether it fits a schema. */
@NullMarked
package dev.tallyroll.schema.statement;

import org.jspecify.annotations.NullMarked;
