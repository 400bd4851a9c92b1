"""For teachers: lessons without their solutions, and handed-in lessons judged. TEACHING.md says how to use it in a class."""

from .grading import Grade, grade
from .students import student_edition

__all__ = ["Grade", "grade", "student_edition"]
