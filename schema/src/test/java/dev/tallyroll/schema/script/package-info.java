@NullMarked
package dev.tallyroll.schema.script;

import org.jspecify.annotations.NullMarked;
