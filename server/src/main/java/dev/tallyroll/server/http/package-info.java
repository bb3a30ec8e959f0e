/** What all endpoints share: bodies with limits, problems, who asks. */
@NullMarked
package dev.tallyroll.server.http;

import org.jspecify.annotations.NullMarked;
