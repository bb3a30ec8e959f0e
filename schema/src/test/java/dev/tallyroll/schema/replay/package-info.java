@NullMarked
package dev.tallyroll.schema.replay;

import org.jspecify.annotations.NullMarked;
