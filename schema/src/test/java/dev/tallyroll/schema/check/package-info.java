@NullMarked
package dev.tallyroll.schema.check;

import org.jspecify.annotations.NullMarked;
