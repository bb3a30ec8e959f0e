@NullMarked
package dev.tallyroll.schema.settings;

import org.jspecify.annotations.NullMarked;
