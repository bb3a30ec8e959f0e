/** Takes in OpenTelemetry traces over HTTP. */
@NullMarked
package dev.tallyroll.server.otlp;

import org.jspecify.annotations.NullMarked;
