@NullMarked
package dev.tallyroll.schema.recording;

import org.jspecify.annotations.NullMarked;
