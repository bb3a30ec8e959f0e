/**
 * The events that are taken in: their columns, what makes two of them the same, and what is
 * refused.
 */
@NullMarked
package dev.tallyroll.model.event;

import org.jspecify.annotations.NullMarked;
