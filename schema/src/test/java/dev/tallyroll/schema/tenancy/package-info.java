@NullMarked
package dev.tallyroll.schema.tenancy;

import org.jspecify.annotations.NullMarked;
