package dev.tallyroll.server.http;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.Code;
import com.google.rpc.Status;
import dev.tallyroll.model.TallyrollException;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.sql.SQLException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.beans.TypeMismatchException;
import org.springframework.http.HttpHeaders;
import org.springframework.http.converter.HttpMessageConversionException;
import org.springframework.web.ErrorResponse;
import org.springframework.web.bind.annotation.ExceptionHandler;
import org.springframework.web.bind.annotation.RestControllerAdvice;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/**
 * Turns every fault into an answer: {@code application/problem+json} (RFC 9457), and where
 * OpenTelemetry's protocol says so a {@code google.rpc.Status} in the content type of the request.
 */
@RestControllerAdvice
public final class Problems {
  private static final Logger LOG = LoggerFactory.getLogger(Problems.class);
  private static final JsonFactory JSON = new JsonFactory();

  /** Options of the command query, which are parameters here. */
  private static final String OPTIONS =
      "--(measure|by|tenant|where|from|to|every|zone|top|fill|stale|partial)\\b";

  private static final String PROTOBUF = "application/x-protobuf";

  /** Answers with what is known to be wrong. */
  @ExceptionHandler(ProblemException.class)
  public void known(
      ProblemException fault, HttpServletRequest request, HttpServletResponse response)
      throws IOException {
    write(fault, request, response);
  }

  /** Answers with what the engine says. */
  @ExceptionHandler(TallyrollException.class)
  public void engine(
      TallyrollException fault, HttpServletRequest request, HttpServletResponse response)
      throws IOException {
    write(of(fault), request, response);
  }

  /** A fault of the engine as an error of the API. */
  public static ProblemException of(TallyrollException fault) {
    String message =
        fault
            .getMessage()
            .replace("{tallyroll}", "tallyroll")
            .replaceAll(" \\(SQLSTATE .*?\\)", "")
            .replaceAll(OPTIONS, "$1");
    return switch (fault.code()) {
      case USAGE, DEFINITION -> new ProblemException(Problem.BAD_REQUEST, message);
      case UNKNOWN_NAME ->
          new ProblemException(
              message.startsWith("no rollup '") ? Problem.UNKNOWN_ROLLUP : Problem.BAD_REQUEST,
              message);
      case NOT_COVERED -> new ProblemException(Problem.UNCOVERED, message);
      case REFUSED -> ProblemException.retry(Problem.DATABASE, message, 5);
      case DATABASE -> {
        // Not what PostgreSQL says, which may hold values.
        LOG.warn(
            "the database: {}",
            fault.getCause() instanceof SQLException cause
                ? "SQLSTATE " + cause.getSQLState()
                : message);
        yield ProblemException.retry(
            Problem.DATABASE, "the database does not answer, or refuses; see the server's log", 5);
      }
    };
  }

  /** Answers with what Spring finds wrong with a request. */
  @ExceptionHandler(Exception.class)
  public void other(Exception fault, HttpServletRequest request, HttpServletResponse response)
      throws Exception {
    if (fault instanceof ErrorResponse known) {
      int status = known.getStatusCode().value();
      Problem problem = Problem.of(status).orElse(Problem.BAD_REQUEST);
      HttpHeaders headers = known.getHeaders();
      headers.forEach((name, values) -> values.forEach(value -> response.addHeader(name, value)));
      write(new ProblemException(problem, detail(problem, known)), request, response);
    } else if (fault instanceof TypeMismatchException wrong) {
      write(
          new ProblemException(
              Problem.BAD_REQUEST,
              (wrong.getPropertyName() == null ? "a parameter" : wrong.getPropertyName())
                  + " has a value of another kind"),
          request,
          response);
    } else if (fault instanceof HttpMessageConversionException) {
      write(
          new ProblemException(
              Problem.BAD_REQUEST,
              "the body is not a JSON object of the members that the API's description names"),
          request,
          response);
    } else if (fault instanceof IOException gone) {
      // The client does not listen any more.
      throw gone;
    } else {
      LOG.error(
          "internal error at {} {}: {}",
          request.getMethod(),
          request.getRequestURI(),
          fault.getClass().getName(),
          fault);
      write(new ProblemException(Problem.INTERNAL, "see the server's log"), request, response);
    }
  }

  private static String detail(Problem problem, ErrorResponse known) {
    String said = known.getBody().getDetail();
    return problem == Problem.NOT_FOUND || said == null ? problem.title() : said;
  }

  private static void write(
      ProblemException fault, HttpServletRequest request, HttpServletResponse response)
      throws IOException {
    if (response.isCommitted()) {
      return;
    }
    Problem problem = fault.problem();
    response.setStatus(problem.status());
    fault
        .retryAfter()
        .ifPresent(seconds -> response.setHeader("Retry-After", Integer.toString(seconds)));
    if (problem == Problem.UNAUTHORIZED) {
      response.setHeader("WWW-Authenticate", "Bearer realm=\"tallyroll\"");
    }
    byte[] body;
    if (request.getRequestURI().startsWith("/v1/traces")) {
      body = status(fault, request, response);
    } else {
      response.setContentType("application/problem+json");
      body = problem(fault);
    }
    response.setContentLength(body.length);
    response.getOutputStream().write(body);
  }

  private static byte[] status(
      ProblemException fault, HttpServletRequest request, HttpServletResponse response)
      throws InvalidProtocolBufferException {
    Status status =
        Status.newBuilder()
            .setCode(
                switch (fault.problem()) {
                  case UNAUTHORIZED -> Code.UNAUTHENTICATED_VALUE;
                  case FORBIDDEN -> Code.PERMISSION_DENIED_VALUE;
                  case NOT_FOUND, UNKNOWN_ROLLUP -> Code.NOT_FOUND_VALUE;
                  case RATE_LIMITED, TOO_LARGE -> Code.RESOURCE_EXHAUSTED_VALUE;
                  case OVERLOADED, DATABASE -> Code.UNAVAILABLE_VALUE;
                  case BODY_TIMEOUT -> Code.DEADLINE_EXCEEDED_VALUE;
                  case INTERNAL -> Code.INTERNAL_VALUE;
                  case METHOD_NOT_ALLOWED -> Code.UNIMPLEMENTED_VALUE;
                  case BAD_REQUEST,
                      INVALID_EVENT,
                      NOT_ACCEPTABLE,
                      CONFLICT,
                      UNCOVERED,
                      UNSUPPORTED_MEDIA_TYPE ->
                      Code.INVALID_ARGUMENT_VALUE;
                })
            .setMessage(fault.detail())
            .build();
    String type = request.getContentType();
    if (type != null && type.startsWith(PROTOBUF)) {
      response.setContentType(PROTOBUF);
      return status.toByteArray();
    }
    response.setContentType("application/json");
    return JsonFormat.printer().print(status).getBytes(StandardCharsets.UTF_8);
  }

  private static byte[] problem(ProblemException fault) {
    java.io.ByteArrayOutputStream out = new java.io.ByteArrayOutputStream();
    try (JsonGenerator json = JSON.createGenerator(ObjectWriteContext.empty(), out)) {
      json.writeStartObject();
      json.writeStringProperty("type", fault.problem().type());
      json.writeStringProperty("title", fault.problem().title());
      json.writeNumberProperty("status", fault.problem().status());
      json.writeStringProperty("detail", fault.detail());
      if (!fault.faults().isEmpty()) {
        json.writeName("errors");
        json.writeStartArray();
        for (ProblemException.Fault one : fault.faults()) {
          json.writeStartObject();
          json.writeNumberProperty("index", one.index());
          json.writeStringProperty("field", one.field());
          json.writeStringProperty("detail", one.detail());
          json.writeEndObject();
        }
        json.writeEndArray();
      }
      json.writeEndObject();
    }
    return out.toByteArray();
  }
}
