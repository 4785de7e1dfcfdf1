# find_package(berth-plugin) with berth-plugin_DIR=<folder of berth>/plugin-api/cmake defines the target
# berth::plugin: the headers, and the options with which a library exports its entry alone and, on Windows, has
# the compiler's own libraries in it. Plugins are MODULE libraries without a prefix.
if(NOT TARGET berth::plugin)
  get_filename_component(berth_plugin_headers "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
  add_library(berth::plugin INTERFACE IMPORTED)
  set_target_properties(
    berth::plugin PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${berth_plugin_headers}"
  )
  if(MINGW)
    set_property(TARGET berth::plugin PROPERTY INTERFACE_LINK_OPTIONS "-static")
  elseif(NOT WIN32)
    set_property(
      TARGET berth::plugin PROPERTY INTERFACE_LINK_OPTIONS
                                    "LINKER:--version-script=${berth_plugin_headers}/berth-plugin.map"
    )
  endif()
  unset(berth_plugin_headers)
endif()
