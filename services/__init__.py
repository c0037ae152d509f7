"""What is deployed around the method. A service imports ``synctalk`` and ``services.common``."""
