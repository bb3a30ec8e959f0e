package dev.tallyroll.server.access;

import dev.tallyroll.postgres.access.Scope;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/** Which scopes an endpoint takes. Without it nobody is let through; with none, everybody is. */
@Target(ElementType.METHOD)
@Retention(RetentionPolicy.RUNTIME)
public @interface Needs {
  /** Any of these; none for everybody. */
  Scope[] value();
}
