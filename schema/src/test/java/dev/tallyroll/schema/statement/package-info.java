@NullMarked
package dev.tallyroll.schema.statement;

import org.jspecify.annotations.NullMarked;
