# cmake --install, and the Debian package that cpack makes of the same files.
install(TARGETS core-service RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(PROGRAMS scripts/migrate DESTINATION ${CMAKE_INSTALL_BINDIR} RENAME core-service-migrate)
install(DIRECTORY lua/ DESTINATION ${CMAKE_INSTALL_DATADIR}/core-service/lua)
install(DIRECTORY migrations/ DESTINATION ${CMAKE_INSTALL_DATADIR}/core-service/migrations)
install(FILES README.md CHANGELOG.md docs/MISSED_DATA_API.md docs/OPERATIONS.md
  docs/PHASE2_DEPLOYMENT.md docs/RULES.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES docker/prometheus/alerts.yml
  DESTINATION ${CMAKE_INSTALL_DATADIR}/core-service/prometheus)

install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)

# Who publishes a package puts a name and an address here.
set(CPACK_PACKAGE_CONTACT "core-service maintainers <core-service@lists.example.org>"
  CACHE STRING "maintainer of the Debian package")
string(TIMESTAMP CHANGED "%a, %d %b %Y %H:%M:%S +0000" UTC) # SOURCE_DATE_EPOCH, when it is set

# A text that names absolute paths: the prefix is known only when it is installed. Manual pages and
# the package's changelog are compressed, as Debian has them.
function(install_text name directory)
  install(CODE "
    set(BINDIR \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}\")
    set(DATADIR \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}\")
    set(VERSION \"${PROJECT_VERSION}\")
    set(CONTACT \"${CPACK_PACKAGE_CONTACT}\")
    set(DATE \"${CHANGED}\")
    set(to \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${directory}/${name}\")
    message(STATUS \"Installing: \${to}\")
    configure_file(\"${CMAKE_SOURCE_DIR}/packaging/${name}.in\" \"\${to}\" @ONLY)
    file(CHMOD \"\${to}\" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
    if(to MATCHES \"([.]8|/changelog)$\")
      execute_process(COMMAND gzip -9nf \"\${to}\" COMMAND_ERROR_IS_FATAL ANY)
    endif()
  ")
endfunction()
install_text(core-service.service lib/systemd/system)
install_text(core-service.8 ${CMAKE_INSTALL_MANDIR}/man8)
install_text(core-service-migrate.8 ${CMAKE_INSTALL_MANDIR}/man8)
install_text(changelog ${CMAKE_INSTALL_DOCDIR})

# Packing takes what was built; it does not build the specs first.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME core-service)
set(CPACK_PACKAGE_VENDOR "core-service")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Kafka to PostgreSQL by rules in Lua, with gap recovery")
set(CPACK_PACKAGE_DESCRIPTION
  "Moves sequenced market data from Kafka into PostgreSQL or TimescaleDB and
answers over HTTP which updates a client has missed. How messages are read,
what is valid and what an answer looks like are rules in Lua that can be
edited while it runs.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
  GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "postgresql-client")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${CMAKE_SOURCE_DIR}/packaging/postinst ${CMAKE_SOURCE_DIR}/packaging/prerm
  ${CMAKE_SOURCE_DIR}/packaging/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
