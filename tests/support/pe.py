"""What the executables of Windows carry along: their resources, read from the file itself."""

import struct

VERSION = 16
MANIFEST = 24


class Resources:
    """The resources of a PE file."""

    def __init__(self, data):
        self._data = data
        (header,) = struct.unpack_from("<I", data, 0x3C)
        assert data[header:header + 4] == b"PE\0\0"
        sections, optional = struct.unpack_from("<H12xH", data, header + 6)
        self._sections = [
            struct.unpack_from("<8sIIII", data, header + 24 + optional + 40 * i) for i in range(sections)
        ]
        # In PE32+ the directories of data begin at 112, eight bytes each; the third is of the resources.
        (self._root,) = struct.unpack_from("<I", data, header + 24 + 112 + 8 * 2)

    def _offset(self, address):
        for _, size, begin, raw_size, raw in self._sections:
            if begin <= address < begin + max(size, raw_size):
                return address - begin + raw
        raise AssertionError(f"no section has {address:#x}")

    def _entries(self, directory):
        """The number of each entry, and where it leads to: a directory, or the place of its bytes."""
        named, numbered = struct.unpack_from("<12xHH", self._data, directory)
        for i in range(named, named + numbered):
            yield struct.unpack_from("<II", self._data, directory + 16 + 8 * i)

    def all(self, kind):
        """The bytes of each resource of that kind."""
        if self._root == 0:
            return []
        root = self._offset(self._root)
        found = []

        def collect(place):
            if place & 0x80000000:
                for _, next_place in self._entries(root + (place & 0x7FFFFFFF)):
                    collect(next_place)
            else:
                address, size = struct.unpack_from("<II", self._data, root + place)
                begin = self._offset(address)
                found.append(self._data[begin:begin + size])

        for number, place in self._entries(root):
            if number == kind:
                collect(place)
        return found


def fixed_version(resource):
    """The numbers of a file and of its product in a version resource."""
    at = resource.index(struct.pack("<I", 0xFEEF04BD))
    high, low, product_high, product_low = struct.unpack_from("<8xIIII", resource, at)

    def parts(a, b):
        return (a >> 16, a & 0xFFFF, b >> 16, b & 0xFFFF)

    return parts(high, low), parts(product_high, product_low)


def version_string(resource, name):
    """A text of a version resource: behind its name, at the next address of four bytes."""
    key = f"{name}\0".encode("utf-16-le")
    at = (resource.index(key) + len(key) + 3) & ~3
    return resource[at:].decode("utf-16-le", errors="replace").partition("\0")[0]
