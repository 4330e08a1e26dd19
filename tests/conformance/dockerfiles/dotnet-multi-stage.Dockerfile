FROM layer-cake-test-base AS base
WORKDIR /app
EXPOSE 80

FROM layer-cake-test-base AS build
WORKDIR "/src"
COPY ["app/", "Web App/"]
RUN cp -r "Web App" /publish

FROM build AS publish
RUN echo publish

FROM base AS final
WORKDIR /app
COPY --from=publish /publish .
ENTRYPOINT ["dotnet", "Web App.dll"]
