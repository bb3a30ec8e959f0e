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
import org.springdoc.core.configuration.SpringDocConfiguration;
import org.springdoc.core.configuration.SpringDocSpecPropertiesConfiguration;
import org.springdoc.core.properties.SpringDocConfigProperties;
import org.springdoc.core.properties.SwaggerUiConfigProperties;
import org.springdoc.core.properties.SwaggerUiOAuthProperties;
import org.springdoc.webmvc.core.configuration.SpringDocWebMvcConfiguration;
import org.springdoc.webmvc.ui.SwaggerConfig;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.ImportAutoConfiguration;
import org.springframework.boot.autoconfigure.context.ConfigurationPropertiesAutoConfiguration;
import org.springframework.boot.autoconfigure.context.LifecycleAutoConfiguration;
import org.springframework.boot.autoconfigure.context.PropertyPlaceholderAutoConfiguration;
import org.springframework.boot.http.converter.autoconfigure.HttpMessageConvertersAutoConfiguration;
import org.springframework.boot.jackson.autoconfigure.JacksonAutoConfiguration;
import org.springframework.boot.servlet.autoconfigure.HttpEncodingAutoConfiguration;
import org.springframework.boot.tomcat.autoconfigure.servlet.TomcatServletWebServerAutoConfiguration;
import org.springframework.boot.tomcat.servlet.TomcatServletWebServerFactory;
import org.springframework.boot.web.server.WebServerFactoryCustomizer;
import org.springframework.boot.webmvc.autoconfigure.DispatcherServletAutoConfiguration;
import org.springframework.boot.webmvc.autoconfigure.WebMvcAutoConfiguration;
import org.springframework.boot.webmvc.autoconfigure.error.ErrorMvcAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Import;
import org.springframework.validation.Errors;
import org.springframework.validation.Validator;
import org.springframework.web.servlet.config.annotation.InterceptorRegistry;
import org.springframework.web.servlet.config.annotation.WebMvcConfigurer;

/** The endpoints and what serves them. What they share is registered by {@link TallyrollServer}. */
@SpringBootConfiguration(proxyBeanMethods = false)
// By name: looking through all that the class path offers takes a quarter of the start.
@ImportAutoConfiguration({
  PropertyPlaceholderAutoConfiguration.class,
  ConfigurationPropertiesAutoConfiguration.class,
  LifecycleAutoConfiguration.class,
  TomcatServletWebServerAutoConfiguration.class,
  DispatcherServletAutoConfiguration.class,
  WebMvcAutoConfiguration.class,
  ErrorMvcAutoConfiguration.class,
  HttpEncodingAutoConfiguration.class,
  HttpMessageConvertersAutoConfiguration.class,
  JacksonAutoConfiguration.class,
  SpringDocConfiguration.class,
  SpringDocConfigProperties.class,
  SpringDocSpecPropertiesConfiguration.class,
  SpringDocWebMvcConfiguration.class,
  SwaggerConfig.class,
  SwaggerUiConfigProperties.class,
  SwaggerUiOAuthProperties.class
})
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

  /** None: what comes in is checked where it is read, and the usual one takes long to start. */
  @Override
  public Validator getValidator() {
    return new Validator() {
      @Override
      public boolean supports(Class<?> type) {
        return false;
      }

      @Override
      public void validate(Object target, Errors errors) {
        throw new IllegalStateException("nothing is validated by Spring");
      }
    };
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
