@NullMarked
package dev.tallyroll.schema.guard;

import org.jspecify.annotations.NullMarked;
