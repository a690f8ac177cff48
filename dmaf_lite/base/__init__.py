"""What every room stands on: settings, files that are whole or not there, devices, memory."""
