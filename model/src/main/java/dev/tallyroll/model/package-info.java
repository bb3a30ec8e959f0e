/** What every part shares: the one exception type and its codes. */
@NullMarked
package dev.tallyroll.model;

import org.jspecify.annotations.NullMarked;
