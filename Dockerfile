# Tallyroll around the single jar:  ./build package && docker build -t tallyroll .
FROM eclipse-temurin:25-jre
RUN useradd --system --create-home --uid 10001 tallyroll \
    && install -d -o tallyroll -g tallyroll /data
COPY --chmod=0644 cli/target/tallyroll.jar /opt/tallyroll/tallyroll.jar
USER tallyroll
WORKDIR /data
ENV TALLYROLL_DATA_DIR=/data/.tallyroll
VOLUME /data
ENTRYPOINT ["java", "-XX:+UseParallelGC", "-XX:NewRatio=11", "-XX:MaxRAMPercentage=70", "--sun-misc-unsafe-memory-access=allow", "-jar", "/opt/tallyroll/tallyroll.jar"]
CMD ["--help"]
