/** Takes in CloudEvents. */
@NullMarked
package dev.tallyroll.server.cloudevents;

import org.jspecify.annotations.NullMarked;
