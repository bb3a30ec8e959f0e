package dev.tallyroll.server;

import dev.tallyroll.server.access.Access;
import dev.tallyroll.server.admin.AdminController;
import dev.tallyroll.server.cloudevents.CloudEventsController;
import dev.tallyroll.server.http.Problems;
import dev.tallyroll.server.ingest.QuarantineController;
import dev.tallyroll.server.otlp.TracesController;
import dev.tallyroll.server.settings.ServerSettings;
import dev.tallyroll.server.upkeep.HealthController;
import dev.tallyroll.server.usage.RollupsController;
import dev.tallyroll.server.usage.UsageController;
import io.swagger.v3.oas.models.Components;
import io.swagger.v3.oas.models.OpenAPI;
import io.swagger.v3.oas.models.info.Info;
import io.swagger.v3.oas.models.info.License;
import io.swagger.v3.oas.models.security.SecurityRequirement;
import io.swagger.v3.oas.models.security.SecurityScheme;
import java.net.InetAddress;
import java.net.UnknownHostException;
import org.apache.catalina.connector.Connector;
import org.apache.coyote.AbstractProtocol;
import org.apache.coyote.http11.AbstractHttp11Protocol;
import org.apache.tomcat.util.threads.VirtualThreadExecutor;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.tomcat.servlet.TomcatServletWebServerFactory;
import org.springframework.boot.web.server.WebServerFactoryCustomizer;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Import;
import org.springframework.web.servlet.config.annotation.InterceptorRegistry;
import org.springframework.web.servlet.config.annotation.WebMvcConfigurer;

/** The endpoints and what serves them. What they share is registered by {@link TallyrollServer}. */
@SpringBootConfiguration(proxyBeanMethods = false)
@EnableAutoConfiguration
@Import({
  Problems.class,
  CloudEventsController.class,
  TracesController.class,
  QuarantineController.class,
  UsageController.class,
  RollupsController.class,
  AdminController.class,
  HealthController.class
})
class ServerApplication implements WebMvcConfigurer {
  /** Each costs a few kilobytes while it is idle. */
  private static final int MOST_CONNECTIONS = 20_000;

  private static final int READ_TIMEOUT_MS = 10_000;
  private static final int IDLE_TIMEOUT_MS = 75_000;
  private static final int MOST_HEADER_BYTES = 16 << 10;

  private final Access access;

  ServerApplication(Access access) {
    this.access = access;
  }

  @Override
  public void addInterceptors(InterceptorRegistry registry) {
    registry.addInterceptor(access);
  }

  @Bean
  OpenAPI openApi() {
    return new OpenAPI()
        .info(
            new Info()
                .title("Tallyroll")
                .version("v1")
                .description("Takes in OpenTelemetry traces and CloudEvents, answers usage.")
                .license(
                    new License()
                        .name("Apache-2.0")
                        .url("https://www.apache.org/licenses/LICENSE-2.0")))
        .components(
            new Components()
                .addSecuritySchemes(
                    "key",
                    new SecurityScheme()
                        .type(SecurityScheme.Type.HTTP)
                        .scheme("bearer")
                        .bearerFormat("tr_<id>_<secret>")))
        .addSecurityItem(new SecurityRequirement().addList("key"));
  }

  @Bean
  WebServerFactoryCustomizer<TomcatServletWebServerFactory> connectors(ServerSettings settings) {
    return factory -> {
      factory.addConnectorCustomizers(connector -> tune(connector, settings));
      settings
          .otlpListen()
          .ifPresent(address -> {
            Connector connector = new Connector();
            connector.setPort(address.port());
            if (connector.getProtocolHandler() instanceof AbstractProtocol<?> protocol) {
              protocol.setAddress(inet(address.host()));
              protocol.setExecutor(new VirtualThreadExecutor("otlp-"));
            }
            tune(connector, settings);
            factory.addAdditionalConnectors(connector);
          });
    };
  }

  static InetAddress inet(String host) {
    try {
      return InetAddress.getByName(host);
    } catch (UnknownHostException e) {
      throw new IllegalArgumentException("no address of this name: " + host, e);
    }
  }

  /** Tomcat's defaults are for fewer and shorter connections. */
  private static void tune(Connector connector, ServerSettings settings) {
    connector.setXpoweredBy(false);
    // No parameters in bodies: what is read of one is read by Bodies alone.
    connector.setParseBodyMethods("");
    if (connector.getProtocolHandler() instanceof AbstractHttp11Protocol<?> protocol) {
      protocol.setMaxConnections(MOST_CONNECTIONS);
      protocol.setMaxKeepAliveRequests(-1);
      protocol.setConnectionTimeout(
          (int) Math.min(READ_TIMEOUT_MS, Math.max(1, settings.bodyDeadline().toMillis())));
      protocol.setKeepAliveTimeout(IDLE_TIMEOUT_MS);
      protocol.setMaxHttpRequestHeaderSize(MOST_HEADER_BYTES);
      // What is refused is read and thrown away, so that the sender gets to read the answer.
      protocol.setMaxSwallowSize((int) Math.min(Integer.MAX_VALUE, 2L * settings.maxBody()));
    }
  }
}
