@NullMarked
package dev.tallyroll.schema.audit;

import org.jspecify.annotations.NullMarked;
