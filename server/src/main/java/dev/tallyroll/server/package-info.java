/** The process that takes events in and answers usage over HTTP. */
@NullMarked
package dev.tallyroll.server;

import org.jspecify.annotations.NullMarked;
