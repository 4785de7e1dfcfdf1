# find_package(berth-plugin) with berth-plugin_DIR=<folder of berth>/plugin-api/cmake defines the target
# berth::plugin: headers only, nothing to link. Plugins are MODULE libraries without a prefix.
if(NOT TARGET berth::plugin)
  get_filename_component(berth_plugin_headers "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
  add_library(berth::plugin INTERFACE IMPORTED)
  set_target_properties(
    berth::plugin PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${berth_plugin_headers}"
  )
  unset(berth_plugin_headers)
endif()
